use std::{fmt, io, net::Ipv4Addr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 for a process that is started later, perhaps several times: as long as this
/// lives, the system gives the port to nobody who asks for any.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Bound without listening: who asks for this very port, with `SO_REUSEADDR` as listeners of tokio
    /// and Go do, gets it.
    _held: TcpSocket,
}

impl Port {
    /// # Errors
    /// When the system has none.
    pub fn reserve() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let number = socket.local_addr()?.port();
        let _held = socket;
        Ok(Self { number, _held })
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}

/// `127.0.0.1:<number>`
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Ipv4Addr::LOCALHOST, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[tokio::test]
    async fn a_port_is_given_to_nobody_but_who_asks_for_it() {
        let ports: Vec<Port> = (0..200).map(|_| Port::reserve().expect("a port")).collect();
        let taken = |number: u16| ports.iter().filter(|port| port.number() == number).count();
        assert!(ports.iter().all(|port| taken(port.number()) == 1));
        for _ in 0..2000 {
            let any = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let any = any.expect("a port").local_addr().expect("bound").port();
            assert_eq!(taken(any), 0, "{any} is reserved");
        }
        for _ in 0..2 {
            let listener = tokio::net::TcpListener::bind(ports[0].to_string()).await;
            assert!(listener.is_ok(), "{listener:?}");
        }
    }
}
