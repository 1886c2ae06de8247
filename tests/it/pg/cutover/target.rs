//! Where T falls in the log.

use pgrun::{base::Lsn, pg::drain};

use super::{LONG, Stage};
use crate::pg::fixture;

/// `wal_block_size` of every build here, and the head of a page that is not the first of its file.
const PAGE: u64 = 8192;
const HEAD: u64 = 24;

/// The shortest message here: a record with less in it has a shorter head.
const LEAST: u64 = 512;

/// Bytes of the log that such a message takes.
async fn least(stage: &Stage) -> u64 {
    loop {
        let before = stage.from.insert_lsn().await.unwrap();
        pad(stage, LEAST).await;
        let after = stage.from.insert_lsn().await.unwrap();
        if after.0 / PAGE == before.0 / PAGE {
            return after.0 - before.0;
        }
    }
}

async fn pad(stage: &Stage, bytes: u64) {
    let sql = "SELECT pg_logical_emit_message(false, 'pad', repeat('x', $1::int))";
    stage.from.query(sql, &[i64::try_from(bytes).unwrap().into()]).await.unwrap();
}

/// Attack 11: where nothing else is written, a position right behind the head of a page is never confirmed: the sender
/// has sent all up to the end of the page before. So another commit follows T.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_right_behind_the_head_of_a_page_is_reached() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    let least = least(&stage).await;
    let (mut ahead, mut reached) = (None, 0);
    for _ in 0..60 {
        if let Some(ahead) = ahead {
            let Lsn(now) = stage.from.insert_lsn().await.unwrap();
            let mut end = (now / PAGE + 1) * PAGE;
            // What is padded over the end of a page has its head in it.
            let mut room = end.saturating_sub(now + ahead + least);
            if end < now + ahead + least {
                end += PAGE;
                room = end - (now + ahead + least + HEAD);
            }
            // Records begin at multiples of eight.
            pad(&stage, LEAST + room / 8 * 8).await;
        }
        let Lsn(before) = stage.from.insert_lsn().await.unwrap();
        let drained = drain::drain(stage.stream(), &baseline, LONG).await.unwrap();
        assert!(drained.applied >= drained.target);
        let Lsn(target) = drained.target;
        if target % PAGE == HEAD {
            reached += 1;
        }
        if before / PAGE == target / PAGE {
            ahead = Some(target - before);
        }
        if reached == 2 {
            break;
        }
    }
    assert!(reached > 0, "T never fell right behind the head of a page");
    stage.strike().await;
}
