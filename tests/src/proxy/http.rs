//! HTTP CONNECT (RFC 9110, section 9.3.6), with Basic credentials (RFC 7617).

use std::{io, sync::Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Refusal, State, check_credentials, connect, send_garbage};

/// Reads one request. Returns the connection to its destination after a success.
pub(super) async fn serve(stream: &mut TcpStream, state: &Mutex<State>) -> io::Result<Option<TcpStream>> {
    let head = read_head(stream).await?;
    let mut words = head.split(' ');
    let (method, destination) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = if method == "CONNECT" {
        match check_credentials(
            state,
            credentials(&head).as_ref().map(|(user, password)| (&**user, &**password)),
        ) {
            Ok(()) => connect(state, destination).await,
            Err(refusal) => Err(refusal),
        }
    } else {
        Err(Refusal::Garbage)
    };
    let status = match &answer {
        Ok(_) => "200 Connection established",
        Err(Refusal::Credentials) => {
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\""
        }
        Err(Refusal::Forbidden) => "403 Forbidden",
        Err(Refusal::Unreachable) => "502 Bad Gateway",
        Err(Refusal::Close) => return Ok(None),
        Err(Refusal::Garbage) => return send_garbage(stream).await.map(|()| None),
    };
    stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
    Ok(answer.ok())
}

async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// User and password of a request.
fn credentials(head: &str) -> Option<(String, String)> {
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then_some(value)
    })?;
    let text = String::from_utf8(STANDARD.decode(line.strip_prefix("Basic ")?).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
