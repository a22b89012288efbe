//! Reads the body of one response as an engine does, and counts its bytes.
//! Must never store or verify them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Result, ensure};
use docxy_tests::wan::run_in_namespace;

/// A body that is being read. Dropping it closes the connection, as an engine that cancels does.
pub(crate) struct BodyReader {
    connection: TcpStream,
    read: Arc<AtomicU64>,
}

impl BodyReader {
    /// Sends a request from the namespace, and waits for the head of the response.
    pub(crate) fn begin(namespace: &str, client: SocketAddr, path: &str, bearer: &str) -> Result<Self> {
        let connection = run_in_namespace(namespace, || TcpStream::connect(client))??;
        let mut reader = BufReader::new(connection.try_clone()?);
        write!(&connection, "GET {path} HTTP/1.1\r\nHost: {client}\r\nAuthorization: {bearer}\r\n\r\n")?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200 "), "{path}: {line}");
        while line != "\r\n" {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "{path}: no head");
        }
        let read = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&read);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
        Ok(Self { connection, read })
    }

    /// The bytes of the body that were read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        // It ends the reading thread, too.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}
