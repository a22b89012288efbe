//! Reads a blob, or a part of it, as an engine does, and closes the connection.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Result, ensure};
use sha2::{Digest as _, Sha256};

/// Reads so many bytes from `start` on, or of the whole.
pub fn read(client: SocketAddr, path: &str, start: Option<u64>, bytes: u64) -> Result<()> {
    let read = std::io::copy(&mut get(client, path, start)?.take(bytes), &mut std::io::sink())?;
    ensure!(read == bytes, "the body ended after {read} of {bytes} bytes");
    Ok(())
}

/// Reads the whole. Tells after each MiB how many bytes that were. Returns the SHA-256, in hexadecimal digits.
pub fn read_and_hash(client: SocketAddr, path: &str, progress: impl Fn(u64) -> Result<()>) -> Result<String> {
    let mut body = get(client, path, None)?;
    let (mut hash, mut buffer, mut read) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        let before = read;
        read += count as u64;
        if before >> 20 < read >> 20 {
            progress(read)?;
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The body of a response, which ends with the connection.
fn get(client: SocketAddr, path: &str, start: Option<u64>) -> Result<BufReader<TcpStream>> {
    let connection = TcpStream::connect(client)?;
    let range = start.map(|start| format!("Range: bytes={start}-\r\n")).unwrap_or_default();
    let fields = format!("Host: {client}\r\nUser-Agent: containerd/2.1.0\r\nConnection: close\r\n{range}");
    write!(&connection, "GET {path} HTTP/1.1\r\n{fields}\r\n")?;
    let mut reader = BufReader::with_capacity(256 * 1024, connection);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.contains(" 200 ") || line.contains(" 206 "), "{line}");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    Ok(reader)
}
