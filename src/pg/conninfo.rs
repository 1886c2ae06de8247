//! The two texts that name a server: `postgres://` URLs and libpq's `key=value` lists. Only their grammar lives here;
//! what the keys mean is in `target.rs`. Errors never repeat a value: it may be a password.

use crate::{
    base::{Code, Result},
    fail,
};

/// The settings of a text, in order. A later setting of the same key wins, as in libpq.
pub(super) type Pairs = Vec<(String, String)>;

/// Reads either form: a URL if it begins like one, else `key=value` pairs.
pub(super) fn pairs(text: &str) -> Result<Pairs> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    rest.map_or_else(|| key_values(text), url)
}

/// `[user[:password]@][host[:port]][/database][?key=value&..]`, after the scheme (libpq, "Connection URIs").
fn url(rest: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    // As in libpq, credentials stand before the first slash. The last `@` there ends them, so that a password with a
    // bare `@` is read as its owner meant it.
    let reach = rest.find('/').or_else(|| rest.find('?')).unwrap_or(rest.len());
    let (credentials, rest) = rest[..reach].rfind('@').map_or(("", rest), |at| (&rest[..at], &rest[at + 1..]));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, password) = credentials.split_once(':').map_or((credentials, None), |(u, p)| (u, Some(p)));
    let (host, port) = host_and_port(place)?;
    for (key, part) in [("user", user), ("host", host), ("port", port), ("dbname", database)] {
        if !part.is_empty() {
            pairs.push((key.into(), decode(part, key)?));
        }
    }
    if let Some(password) = password {
        pairs.push(("password".into(), decode(password, "password")?));
    }
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| fail!(Code::Usage, "a setting after `?` in the URL has no `=`; wanted `key=value`"))?;
        let key = decode(key, "setting")?;
        let value = decode(value, &key)?;
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// `host`, `host:port`, `[::1]:port`.
fn host_and_port(place: &str) -> Result<(&str, &str)> {
    if let Some(inside) = place.strip_prefix('[') {
        let wrong =
            || fail!(Code::Usage, "the host `{place}` in the URL begins with `[` but has no `]` before the port");
        let (host, after) = inside.split_once(']').ok_or_else(wrong)?;
        let port = if after.is_empty() { Some("") } else { after.strip_prefix(':') };
        return Ok((host, port.ok_or_else(wrong)?));
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

/// Percent-decoding; `+` stays itself, as in libpq.
fn decode(part: &str, key: &str) -> Result<String> {
    let wrong = || {
        fail!(Code::Usage, "the {key} in the URL is not valid percent-encoding")
            .hint("write a literal `%` as `%25`, or give the parts one by one")
    };
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).ok_or_else(wrong);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// libpq's "Keyword/Value Connection Strings": blanks around `=`, values in single quotes, backslash escapes.
fn key_values(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let key = &rest[..end];
        let after = rest[end..].trim_start().strip_prefix('=').filter(|_| !key.is_empty()).ok_or_else(|| {
            // The text itself stays out of the message: a password without its key would be in it.
            fail!(Code::Usage, "the connection text is neither a `postgres://` URL nor a list of `key=value`")
        })?;
        let (value, left) = value(after.trim_start(), key)?;
        pairs.push((key.to_owned(), value));
        rest = left.trim_start();
    }
    Ok(pairs)
}

/// One value and what follows it.
fn value<'a>(text: &'a str, key: &str) -> Result<(String, &'a str)> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(fail!(Code::Usage, "the value of `{key}` in the connection text has no closing quote"));
    }
    Ok((value, ""))
}

/// `key='value'` as libpq reads it back.
pub(super) fn pair(key: &str, value: &str) -> String {
    format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::{pair, pairs};

    fn read(text: &str) -> String {
        let pairs = pairs(text).unwrap();
        pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn urls_of_every_shape() {
        assert_eq!(
            read("postgres://u:p%40@h:1/d?sslmode=require"),
            "user=u host=h port=1 dbname=d password=p@ sslmode=require"
        );
        assert_eq!(read("postgresql://h"), "host=h");
        assert_eq!(read("postgres://u:a?b@c@[::1]:5/d@e"), "user=u host=::1 port=5 dbname=d@e password=a?b@c");
        assert_eq!(read("postgres://%2Ftmp/d?port=7"), "host=/tmp dbname=d port=7");
        assert_eq!(read("postgres:///d?host=/tmp"), "dbname=d host=/tmp");
        assert_eq!(read("postgres://u@h/a+b"), "user=u host=h dbname=a+b");
        for text in ["postgres://h/%4", "postgres://h/%zz", "postgres://[::1/d", "postgres://h?x", "postgres://h/%ff"] {
            assert!(pairs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn key_value_lists_and_their_quoting() {
        assert_eq!(read(r"host = h user='it\'s \\ me' dbname=a\ b"), r"host=h user=it's \ me dbname=a b");
        assert_eq!(read("password=''"), "password=");
        let awkward = r"' \ '' = ";
        assert_eq!(read(&pair("password", awkward)), format!("password={awkward}"));
        for text in ["hunter2", "host=h hunter2", "password='x", "=x"] {
            let error = pairs(text).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
