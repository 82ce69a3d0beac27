//! Which requests matter: those whose lost reply leaves the sender in doubt.

/// What is spoken on an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A `COMMIT` matters.
    Postgres,
    /// A produce request matters.
    Kafka,
    /// A request that changes something matters.
    Http,
}

/// Kafka's api key of a produce request.
const PRODUCE: i16 = 0;

/// Looks at what a client sends.
pub(super) struct Spotter {
    protocol: Protocol,
    /// Of Kafka: bytes of the request under way that are still to come, and the head of the next.
    left: usize,
    head: Vec<u8>,
}

impl Spotter {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            left: 0,
            head: Vec::with_capacity(6),
        }
    }

    /// Whether one that matters begins in these bytes.
    pub(super) fn sees(&mut self, bytes: &[u8]) -> bool {
        match self.protocol {
            Protocol::Postgres => contains(bytes, b"COMMIT"),
            Protocol::Http => contains(bytes, b"POST ") || contains(bytes, b"DELETE "),
            Protocol::Kafka => self.sees_produce(bytes),
        }
    }

    /// Requests are framed: four bytes of length, two of api key, the rest.
    fn sees_produce(&mut self, mut bytes: &[u8]) -> bool {
        let mut seen = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = (6 - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [a, b, c, d, e, f] = self.head[..] {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                self.left = length.saturating_sub(2);
                seen |= i16::from_be_bytes([e, f]) == PRODUCE;
                self.head.clear();
            }
        }
        seen
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: i16, rest: usize) -> Vec<u8> {
        let length = u32::try_from(rest + 2).expect("small");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.extend(vec![0; rest]);
        bytes
    }

    #[test]
    fn produce_requests_are_seen_however_they_are_cut() {
        let bytes = [request(3, 9), request(0, 40), request(1, 3)].concat();
        for size in 1..bytes.len() {
            let mut spotter = Spotter::new(Protocol::Kafka);
            let seen = bytes.chunks(size).filter(|piece| spotter.sees(piece));
            assert_eq!(seen.count(), 1, "in pieces of {size}");
        }
        let mut spotter = Spotter::new(Protocol::Kafka);
        assert!(!spotter.sees(&[request(3, 9), request(1, 500)].concat()));
    }

    #[test]
    fn a_commit_is_seen() {
        let mut spotter = Spotter::new(Protocol::Postgres);
        assert!(spotter.sees(b"Q\0\0\0\x0bCOMMIT\0"));
        assert!(!spotter.sees(b"Q\0\0\0\x0dROLLBACK\0"));
    }
}
