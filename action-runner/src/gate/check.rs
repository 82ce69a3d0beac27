//! Whether a gate answers: for the health check of its container.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(4);

/// Asks the gate at `socket` for `/_ping`, which it asks the engine for.
///
/// # Errors
/// When one of them does not answer, or not with 200.
pub fn check(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(io::Error::other(format!("it answers {:?}", status.trim())))
}
