//! SOCKS5 CONNECT (RFC 1928), with user and password (RFC 1929).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Mutex,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Refusal, State, check_credentials, connect, send_garbage};

const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// Reads one request. Returns the connection to its destination after a success.
pub(super) async fn serve(stream: &mut TcpStream, state: &Mutex<State>) -> io::Result<Option<TcpStream>> {
    let _version = stream.read_u8().await?;
    let methods = read_string(stream).await?;
    let needs_password = state.lock().expect("no test panics with this lock").credentials.is_some();
    let method = if needs_password { PASSWORD } else { NO_AUTHENTICATION };
    if !methods.contains(&method) {
        stream.write_all(&[5, NONE_ACCEPTABLE]).await?;
        return Ok(None);
    }
    stream.write_all(&[5, method]).await?;
    if needs_password {
        let _version = stream.read_u8().await?;
        let (user, password) = (read_text(stream).await?, read_text(stream).await?);
        let is_right = check_credentials(state, Some((&user, &password))).is_ok();
        stream.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return Ok(None);
        }
    }
    let destination = read_destination(stream).await?;
    let answer = connect(state, &destination).await;
    let reply = match &answer {
        Ok(_) => 0,
        Err(Refusal::Forbidden | Refusal::Credentials) => 2,
        Err(Refusal::Unreachable) => 4,
        Err(Refusal::Close) => return Ok(None),
        Err(Refusal::Garbage) => return send_garbage(stream).await.map(|()| None),
    };
    stream.write_all(&[5, reply, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
    Ok(answer.ok())
}

/// A name or an address, with a port.
async fn read_destination(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [_version, _command, _reserved, kind] = head;
    if kind == 3 {
        let name = read_text(stream).await?;
        return Ok(format!("{name}:{}", stream.read_u16().await?));
    }
    let ip = match kind {
        1 => Ipv4Addr::from_bits(stream.read_u32().await?).into(),
        _ => Ipv6Addr::from_bits(stream.read_u128().await?).into(),
    };
    Ok(SocketAddr::new(ip, stream.read_u16().await?).to_string())
}

async fn read_string(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_text(stream: &mut TcpStream) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_string(stream).await?).into_owned())
}
