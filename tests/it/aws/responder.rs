//! An HTTP server that does what a test says: answers, breaks off, or keeps silent. It stands where AWS stands.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pgrun::{
    aws::{Aws, Keys, Settings},
    base::{Redactor, Secret},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What to do with a request that has been read to its end.
#[derive(Clone)]
pub(super) enum Reaction {
    /// Answer with this status and body.
    Answer(u16, String),
    /// Close the connection without a word.
    Hangup,
    /// Say nothing and keep the connection.
    Silence,
}

type Play = dyn Fn(&str, usize) -> Reaction + Send + Sync;

/// Listens on loopback until it is dropped.
pub(super) struct Responder {
    url: String,
    actions: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Responder {
    /// `play` gets the action and how many requests came before, and says what to do.
    pub(super) async fn start(play: impl Fn(&str, usize) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let actions = Arc::new(Mutex::new(Vec::new()));
        let (play, seen): (Arc<Play>, _) = (Arc::new(play), Arc::clone(&actions));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&play), Arc::clone(&seen)));
            }
        });
        Self { url, actions, task }
    }

    /// The actions of all requests so far.
    pub(super) fn actions(&self) -> Vec<String> {
        self.actions.lock().unwrap().clone()
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A handle that reaches nothing but this server, in a hurry.
    pub(super) fn aws(&self) -> Aws {
        aws_at(&self.url, Redactor::default())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A handle to an endpoint that may not exist, with few and short tries.
pub(super) fn aws_at(url: &str, redactor: Redactor) -> Aws {
    let settings = Settings {
        region: Some("eu-west-1".into()),
        endpoint: Some(url.into()),
        keys: Some(Keys { id: "AKIATEST".into(), secret: Secret::new("the secret access key"), token: None }),
        attempts: 4,
        attempt_limit: Duration::from_millis(500),
        ..Settings::default()
    };
    Aws::connect(settings, redactor)
}

/// An error as RDS sends it.
pub(super) fn rds_error(status: u16, code: &str, message: &str) -> Reaction {
    let body = format!(
        "<ErrorResponse xmlns=\"http://rds.amazonaws.com/doc/2014-10-31/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>req-1</RequestId></ErrorResponse>"
    );
    Reaction::Answer(status, body)
}

/// An answer as RDS sends it.
pub(super) fn rds_answer(action: &str, result: &str) -> Reaction {
    let body = format!(
        "<{action}Response xmlns=\"http://rds.amazonaws.com/doc/2014-10-31/\"><{action}Result>{result}\
         </{action}Result><ResponseMetadata><RequestId>req-2</RequestId></ResponseMetadata></{action}Response>"
    );
    Reaction::Answer(200, body)
}

/// The answer of DescribeDBInstances for one instance.
pub(super) fn instance(status: &str, version: &str) -> Reaction {
    let body = format!(
        "<DBInstances><DBInstance><DBInstanceIdentifier>blue</DBInstanceIdentifier><DbiResourceId>db-1</DbiResourceId>\
         <DBInstanceStatus>{status}</DBInstanceStatus><Engine>postgres</Engine><EngineVersion>{version}</EngineVersion>\
         <Endpoint><Address>127.0.0.1</Address><Port>5432</Port></Endpoint></DBInstance></DBInstances>"
    );
    rds_answer("DescribeDBInstances", &body)
}

async fn serve(mut stream: TcpStream, play: Arc<Play>, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(action) = request(&mut stream).await {
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(action.clone());
            seen.len() - 1
        };
        match play(&action, before) {
            Reaction::Hangup => return,
            Reaction::Silence => std::future::pending().await,
            Reaction::Answer(status, body) => {
                let kind = if body.starts_with('<') { "text/xml" } else { "application/x-amz-json-1.1" };
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nx-amzn-requestid: req-1\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let sent = stream.write_all(format!("{head}{body}").as_bytes()).await;
                if sent.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads one request and gives its action, from the form's `Action` or the header `x-amz-target`.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes.drain(..end + 4).collect::<Vec<u8>>()).into_owned();
        }
        let mut some = [0; 4096];
        match stream.read(&mut some).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&some[..n]),
        }
    };
    let header = |name: &str| {
        head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    let length: usize = header("content-length").map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = bytes;
    let missing = length.saturating_sub(body.len());
    let mut rest = vec![0; missing];
    stream.read_exact(&mut rest).await.ok()?;
    body.extend(rest);
    if let Some((_, target)) = header("x-amz-target") {
        return Some(target.rsplit('.').next().unwrap_or_default().trim().to_owned());
    }
    let action = form_urlencoded::parse(&body).find(|(key, _)| key == "Action")?;
    Some(action.1.into_owned())
}
