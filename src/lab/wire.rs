//! PostgreSQL's messages as far as a proxy has to understand them: those before the first query (manual, "Message
//! Formats").

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Both directions of a connection, encrypted or not.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// The codes that stand in the place of a protocol version.
pub(super) const SSL_REQUEST: u32 = 80_877_103;
pub(super) const GSS_REQUEST: u32 = 80_877_104;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;

/// Protocol 3.0.
pub(super) const VERSION: u32 = 196_608;

/// No message before the first query is longer; a stranger must not make us keep more.
const MOST: usize = 65_536;

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

async fn body(stream: &mut dyn Duplex) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if !(4..=MOST).contains(&length) {
        return Err(broken("a message of an impossible length"));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// A first message: its code, and what follows.
pub(super) async fn read_first(stream: &mut dyn Duplex) -> io::Result<(u32, Vec<u8>)> {
    let body = body(stream).await?;
    let (code, rest) = body.split_first_chunk::<4>().ok_or_else(|| broken("a first message without a code"))?;
    Ok((u32::from_be_bytes(*code), rest.to_vec()))
}

/// Any later message: its type, and its content.
pub(super) async fn read(stream: &mut dyn Duplex) -> io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    Ok((kind, body(stream).await?))
}

/// Writes a message; type 0 stands for a first message, which has none.
pub(super) async fn write(stream: &mut dyn Duplex, kind: u8, content: &[u8]) -> io::Result<()> {
    let mut text = if kind == 0 { Vec::new() } else { vec![kind] };
    let length = u32::try_from(content.len() + 4).map_err(|_| broken("a message that is too long"))?;
    text.extend(length.to_be_bytes());
    text.extend(content);
    stream.write_all(&text).await?;
    stream.flush().await
}

/// A request for authentication, or its end.
pub(super) async fn write_authentication(stream: &mut dyn Duplex, code: u32, content: &[u8]) -> io::Result<()> {
    write(stream, b'R', &[&code.to_be_bytes(), content].concat()).await
}

/// The end of a login that is refused.
pub(super) async fn write_refusal(stream: &mut dyn Duplex, state: &str, message: &str) -> io::Result<()> {
    let fields = format!("SFATAL\0VFATAL\0C{state}\0M{message}\0\0");
    write(stream, b'E', fields.as_bytes()).await
}

/// Pairs of texts, each with a zero byte at its end.
pub(super) fn pairs(content: &[u8]) -> Vec<(String, String)> {
    let texts: Vec<String> =
        content.split(|byte| *byte == 0).map(|t| String::from_utf8_lossy(t).into_owned()).collect();
    let pairs = texts.chunks(2).filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())));
    pairs.take_while(|(key, _)| !key.is_empty()).collect()
}

/// The reverse of [`pairs`], after the protocol's version.
pub(super) fn startup(pairs: &[(String, String)]) -> Vec<u8> {
    let mut content = VERSION.to_be_bytes().to_vec();
    for (key, value) in pairs {
        content.extend([key.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    content.push(0);
    content
}

#[cfg(test)]
mod tests {
    use super::{pairs, read, startup, write};

    #[tokio::test]
    async fn messages_are_read_as_written_and_bounded() {
        let (mut a, mut b) = tokio::io::duplex(1024);
        write(&mut a, b'p', b"abc").await.unwrap();
        assert_eq!(read(&mut b).await.unwrap(), (b'p', b"abc".to_vec()));
        tokio::io::AsyncWriteExt::write_all(&mut a, b"p\xff\xff\xff\xff").await.unwrap();
        assert!(read(&mut b).await.is_err());
        let given = vec![("user".to_owned(), "é x".to_owned()), ("options".to_owned(), String::new())];
        assert_eq!(pairs(&startup(&given)[4..]), given);
    }
}
