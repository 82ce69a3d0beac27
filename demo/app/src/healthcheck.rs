//! The container's HEALTHCHECK: one request by hand, so that it costs a few milliseconds of CPU time.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_millis(2500);

/// Prints status and answer; fails unless it is 200.
pub(crate) fn run(address: &SocketAddr) -> ExitCode {
    match ask(address, "/healthz") {
        Ok((status, _, body)) => {
            println!("{status} {body}");
            if status == 200 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("no answer from {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// GETs `path`: status, head, trimmed body.
pub(crate) fn ask(address: &SocketAddr, path: &str) -> io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // in one packet: a stream that is written to by `write!` sends each piece of it
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(answer: &str) -> Option<(u16, String, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, head.to_owned(), body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            // all of it: a socket that is closed with bytes unread resets the connection
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).expect("sent");
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        let ready = answering("HTTP/1.1 200 OK\r\n\r\nready\n");
        assert_eq!(run(&ready), ExitCode::SUCCESS);
        let not = answering("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: x\n");
        assert_eq!(run(&not), ExitCode::FAILURE);
        let garbage = answering("hello");
        assert_eq!(run(&garbage), ExitCode::FAILURE);
    }

    #[test]
    fn nobody_there_is_unhealthy() {
        let free = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("bound");
        assert_eq!(run(&free), ExitCode::FAILURE);
    }
}
