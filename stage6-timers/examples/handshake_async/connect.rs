//! tokio's `connect`, with a look at both ends.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Connects. tokio looks for an error, and a socket that is connected with itself has none.
pub(crate) async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    common::refuse_self(&stream)?;
    Ok(stream)
}
