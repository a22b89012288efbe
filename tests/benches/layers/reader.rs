//! Reads a part of a blob as an engine does, and closes the connection.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Result, ensure};

/// Reads so many bytes from `start` on, or of the whole.
pub(super) fn read(client: SocketAddr, path: &str, start: Option<u64>, bytes: u64) -> Result<()> {
    let connection = TcpStream::connect(client)?;
    let range = start.map(|start| format!("Range: bytes={start}-\r\n")).unwrap_or_default();
    write!(&connection, "GET {path} HTTP/1.1\r\nHost: {client}\r\n{range}\r\n")?;
    let mut reader = BufReader::with_capacity(256 * 1024, connection);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.contains(" 200 ") || line.contains(" 206 "), "{line}");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let read = std::io::copy(&mut reader.take(bytes), &mut std::io::sink())?;
    ensure!(read == bytes, "the body ended after {read} of {bytes} bytes");
    Ok(())
}
