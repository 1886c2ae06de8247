//! Fetching a log that RDS serves badly: truncated blocks, bytes that XML cannot carry, markers that do not move.

use std::sync::{Arc, Mutex};

use pgrun::{
    aws::{Bounds, LogFile},
    base::Code,
};

use super::responder::{Reaction, Responder, rds_answer, rds_error};

const ACTION: &str = "DownloadDBLogFilePortion";

fn block(data: &str, marker: &str, pending: bool) -> Reaction {
    let body = format!(
        "<LogFileData>{data}</LogFileData><Marker>{marker}</Marker>\
         <AdditionalDataPending>{pending}</AdditionalDataPending>"
    );
    rds_answer(ACTION, &body)
}

fn file(size: u64) -> LogFile {
    LogFile { name: "error/postgresql.log.2026-11-20-10".into(), size, last_written_ms: 0 }
}

/// Blocks are joined in order until RDS says that was all.
#[tokio::test]
async fn blocks_are_joined() {
    let server = Responder::start(|_, before| match before {
        0 => block("one\n", "10:4", true),
        1 => block("two &lt;\n", "10:10", true),
        _ => block("three\n", "10:16", false),
    });
    let server = server.await;
    let log = server.aws().rds().log("blue", &file(16)).await.unwrap();
    assert_eq!((log.text.as_str(), log.gaps.len()), ("one\ntwo <\nthree\n", 0));
}

/// A truncated block is asked for again with fewer lines, and a single line that is too long is kept as far as it goes.
#[tokio::test]
async fn truncated_blocks_are_asked_for_again() {
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let server = Responder::start(move |_, before| {
        *counter.lock().unwrap() = before + 1;
        match before {
            // 2000, 250, 31, 3 and 1 lines: only single lines come whole.
            0..4 => block("long long [Your log message was truncated]", "10:99", true),
            4 => block("first\n", "10:6", true),
            // Two lines at once: truncated again.
            5 => block("sec[Your log message was truncated]", "10:99", true),
            6 => block("sec[Your log message was truncated]ond\n", "10:13", true),
            _ => block("third\n", "10:19", false),
        }
    });
    let server = server.await;
    let log = server.aws().rds().log("blue", &file(18)).await.unwrap();
    assert_eq!((log.text.as_str(), log.gaps), ("first\nsecond\nthird\n", vec![9]));
    assert_eq!(*calls.lock().unwrap(), 8);
}

/// RDS sometimes says "that was all" before the end (aws-cli #2268); the listed size knows better.
#[tokio::test]
async fn an_early_end_is_not_believed() {
    let server = Responder::start(|_, before| match before {
        0 => block("one\n", "10:4", false),
        1 => block("two\n", "10:8", false),
        _ => panic!("asked beyond the end"),
    });
    let server = server.await;
    assert_eq!(server.aws().rds().log("blue", &file(8)).await.unwrap().text, "one\ntwo\n");
}

/// A marker that stays where it is would be asked for ever.
#[tokio::test]
async fn a_marker_that_stays_is_an_error() {
    let server = Responder::start(|_, _| block("one\n", "10:4", true)).await;
    let error = server.aws().rds().log("blue", &file(100)).await.unwrap_err();
    assert!(error.code() == Code::AwsError && error.message().contains("marker stays `10:4`"), "{error:?}");
    assert_eq!(server.actions().len(), 2);
}

/// Control characters may come as references; they are dropped, line ends and tabs stay.
#[tokio::test]
async fn control_characters_are_dropped() {
    let server = Responder::start(|_, _| block("a&#x1b;[31mb\tc&#xd;\n", "10:9", false)).await;
    let log = server.aws().rds().log("blue", &file(9)).await.unwrap();
    assert_eq!((log.text.as_str(), log.gaps.len()), ("a[31mb\tc\n", 0));
}

/// RDS refuses a block with a byte that it takes for binary (boto/botocore #910), or sends what is no XML. Everything
/// before that line is fetched, and the text says that something is missing.
#[tokio::test]
async fn what_cannot_be_read_is_a_gap() {
    let refusal = rds_error(400, "InvalidParameterValue", "This file contains binary data and should be downloaded");
    for unreadable in [refusal, block("a\u{1}b\n", "10:9", false)] {
        let server = Responder::start(move |_, before| match before {
            // 250 lines pass after 2,000 did not; then it is 500, 62, 7 and the one line itself.
            1 => block("one\n", "10:4", true),
            _ => unreadable.clone(),
        });
        let server = server.await;
        let log = server.aws().rds().log("blue", &file(99)).await.unwrap();
        assert_eq!((log.text.as_str(), log.gaps), ("one\n", vec![4]));
        assert_eq!(server.actions().len(), 6);
    }
}

/// The recovery is found over the hourly files in the order of their names, whatever order RDS lists them in, and the
/// files of pg_upgrade are not asked for.
#[tokio::test]
async fn the_recovery_is_found_over_all_files() {
    let server = Responder::start(|action, before| match (action, before) {
        ("DescribeDBLogFiles", _) => {
            let names =
                ["error/postgresql.log.2026-11-20-11", "error/postgresql.log.2026-11-20-10", "pg_upgrade_server.log.1"];
            let files = names.map(|name| {
                format!(
                    "<DescribeDBLogFilesDetails><LogFileName>{name}</LogFileName><LastWritten>1</LastWritten>\
                     <Size>10</Size></DescribeDBLogFilesDetails>"
                )
            });
            let body = format!("<DescribeDBLogFiles>{}</DescribeDBLogFiles>", files.concat());
            rds_answer("DescribeDBLogFiles", &body)
        }
        (_, 1) => block("2026-11-20 10:59:59 UTC::@:[7]:LOG:  redo starts at 0/10\n", "10:9", false),
        _ => block("2026-11-20 11:00:00 UTC::@:[7]:LOG:  redo done at 0/20 system usage: none\n", "11:9", false),
    });
    let server = server.await;
    let redo = server.aws().rds().first_redo_done("green", &Bounds::default()).await.unwrap().unwrap();
    assert_eq!((redo.start.to_string(), redo.done.to_string()), ("0/10".into(), "0/20".into()));
    assert_eq!(redo.file, "error/postgresql.log.2026-11-20-11");
}

/// A recovery that is found behind a gap may not be the first.
#[tokio::test]
async fn a_recovery_behind_a_gap_is_refused() {
    let server = Responder::start(|action, _| match action {
        "DescribeDBLogFiles" => {
            let files = "<DescribeDBLogFiles><DescribeDBLogFilesDetails><LogFileName>error/postgres.log</LogFileName>\
                         <Size>10</Size></DescribeDBLogFilesDetails></DescribeDBLogFiles>";
            rds_answer("DescribeDBLogFiles", files)
        }
        _ => block(
            "half a line [Your log message was truncated]\n\
             2026-11-20 11:00:00 UTC::@:[7]:LOG:  redo starts at 0/10\n\
             2026-11-20 11:00:00 UTC::@:[7]:LOG:  redo done at 0/20\n",
            "11:9",
            false,
        ),
    });
    let server = server.await;
    let error = server.aws().rds().first_redo_done("green", &Bounds::default()).await.unwrap_err();
    assert!(error.code() == Code::RequireFailed && error.message().contains("may be hidden"), "{error:?}");
}
