//! A remote engine: TLS with client certificates, in front of the same engine.

use std::{path::Path, sync::Arc};

use action_runner::domain::plan::Ask;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use service_kit::testing::Database;
use shared_events::action::{FailureReason, Outcome};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};

use crate::{
    host::{Host, engine},
    runner::{ENOUGH, Runner, Setup},
};

/// An authority, and an engine behind TLS that only its clients may use.
struct Remote {
    host: String,
    folder: TempDir,
    task: JoinHandle<()>,
}

fn authority() -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().expect("a key"))
}

fn certificate_of(issuer: &Issuer<'static, KeyPair>) -> rcgen::Certificate {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(issuer.key()).expect("a certificate")
}

/// `ca.pem`, `cert.pem` and `key.pem`, as Docker's own client has them.
fn write_client(folder: &Path, trusted: &rcgen::Certificate, issuer: &Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["runner".to_owned()]).expect("a name");
    let cert = params.signed_by(&key, issuer).expect("a certificate");
    for (name, text) in [
        ("ca.pem", trusted.pem()),
        ("cert.pem", cert.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
}

impl Remote {
    async fn start() -> Self {
        service_kit::lifecycle::install_crypto();
        let issuer = authority();
        let root = certificate_of(&issuer);
        let folder = tempfile::tempdir().expect("a folder");
        write_client(folder.path(), &root, &issuer);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let cert = params.signed_by(&key, &issuer).expect("a certificate");
        let mut clients = RootCertStore::empty();
        clients.add(root.der().clone()).expect("an authority");
        let verifier = WebPkiClientVerifier::builder(Arc::new(clients)).build();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier.expect("a verifier"))
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that is not let in is what one test is about.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let path = engine().trim_start_matches("unix://").to_owned();
                    let mut engine = UnixStream::connect(path).await.expect("the engine");
                    drop(copy_bidirectional(&mut client, &mut engine).await);
                });
            }
        });
        Self {
            host: format!("tcp://localhost:{port}"),
            folder,
            task,
        }
    }

    fn setup(&self, certificates: Option<&Path>) -> Setup {
        Setup {
            docker_host: self.host.clone(),
            certificates: certificates.map(Path::to_owned),
            ..Setup::default()
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_engine_is_used_over_mutual_tls() {
    let (host, database, remote) = (
        Host::up().await,
        Database::fresh(&[]).await,
        Remote::start().await,
    );
    let setup = remote.setup(Some(remote.folder.path()));
    let runner = Runner::start(&host, &database, &setup).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    assert_eq!(runner.completes(up).await.result, Outcome::Scaled);
    assert_eq!(host.replicas().await, ["2"]);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_authority_is_not_let_in() {
    let (host, database, remote) = (
        Host::up().await,
        Database::fresh(&[]).await,
        Remote::start().await,
    );
    let stranger = tempfile::tempdir().expect("a folder");
    let trusted = std::fs::read(remote.folder.path().join("ca.pem")).expect("the authority");
    write_client(stranger.path(), &certificate_of(&authority()), &authority());
    std::fs::write(stranger.path().join("ca.pem"), trusted).expect("written");
    let setup = remote.setup(Some(stranger.path()));
    let runner = Runner::start(&host, &database, &setup).await;
    let up = runner.ask(1, Ask::Up, 2, 10).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert_eq!(host.all().await.len(), 1);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_authority_is_not_trusted() {
    let (host, database, remote) = (
        Host::up().await,
        Database::fresh(&[]).await,
        Remote::start().await,
    );
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["cert.pem", "key.pem"] {
        let from = remote.folder.path().join(name);
        std::fs::copy(from, folder.path().join(name)).expect("copied");
    }
    let other = certificate_of(&authority()).pem();
    std::fs::write(folder.path().join("ca.pem"), other).expect("written");
    let runner = Runner::start(&host, &database, &remote.setup(Some(folder.path()))).await;
    let up = runner.ask(1, Ask::Up, 2, 10).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.to_lowercase().contains("certificate"),
        "{}",
        failed.message
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_certificates_a_remote_engine_is_not_asked() {
    let (host, database, remote) = (
        Host::up().await,
        Database::fresh(&[]).await,
        Remote::start().await,
    );
    let runner = Runner::start(&host, &database, &remote.setup(None)).await;
    let up = runner.ask(1, Ask::Up, 2, 60).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.contains("EVENTPULSE_DOCKER_CERT_PATH"),
        "{}",
        failed.message
    );
    runner.stop().await;
}
