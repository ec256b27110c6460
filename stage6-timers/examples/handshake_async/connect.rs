//! tokio's `connect`, and a comparison of both ends.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Connects. tokio checks for an error, but a socket that is connected with itself has none, so we also
/// compare both ends.
pub(crate) async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    common::refuse_self(&stream)?;
    Ok(stream)
}
