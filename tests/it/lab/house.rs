//! Housekeeping: labs side by side, what `pgrun lab status` tells, and that nothing is left of a lab that was killed.

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use pgrun::{
    base::poll,
    lab::{self, postgres::Process},
};

use super::{
    crash::{Guard, program},
    stage::{create, pair, rds_at, scratch, settle, snapshot_settles, url},
};

/// Every file below a folder, sockets included; links are not followed.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() && !path.is_symlink() { files(&path) } else { vec![path] }).collect()
}

/// Whether others may read a file: by its own bits, and those of the folders on the way below `top`.
fn is_open(top: &Path, file: &Path) -> bool {
    let mode = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |meta| meta.mode());
    let way = file.ancestors().skip(1).take_while(|folder| folder.starts_with(top));
    mode(file) & 0o004 != 0 && way.into_iter().all(|folder| mode(folder) & 0o001 != 0)
}

/// The processes that work below a folder, or were started for it.
fn processes(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse::<i32>().ok()).filter(|pid| *pid != std::process::id().cast_signed());
    let is_here = |pid: &i32| {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        cwd.starts_with(dir) || String::from_utf8_lossy(&words).contains(&dir.display().to_string())
    };
    let told = |pid: i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {}", String::from_utf8_lossy(&words).replace('\0', " "))
    };
    pids.filter(is_here).filter(|pid| Process::of(*pid).is_some()).map(told).collect()
}

/// Two labs know nothing of each other: each has its endpoint and its servers, and one goes while the other stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn labs_live_side_by_side() {
    let (from, _) = pair().await;
    let scratch = scratch();
    let dirs = ["one", "two"].map(|name| scratch.path().join(name));
    let _guards = dirs.clone().map(Guard);
    let (one, two) =
        (lab::up(&dirs[0], program(&dirs[0])).await.unwrap(), lab::up(&dirs[1], program(&dirs[1])).await.unwrap());
    assert_ne!(one.url, two.url);
    for found in [&one, &two] {
        create(&rds_at(&found.url), "shop", &from.to_string()).await;
    }
    for found in [&one, &two] {
        settle(&rds_at(&found.url), "shop", "available").await;
    }
    assert_ne!(url(&rds_at(&one.url), "shop").await, url(&rds_at(&two.url), "shop").await);
    assert!(lab::down(&dirs[0]).await.unwrap());
    assert_eq!(processes(&dirs[0]), Vec::<String>::new());
    settle(&rds_at(&two.url), "shop", "available").await;

    // What a snapshot costs is told: its size, its time, and how long the server stood still.
    let rds = rds_at(&two.url);
    rds.create_db_snapshot().db_instance_identifier("shop").db_snapshot_identifier("s").send().await.unwrap();
    snapshot_settles(&rds, "s", "available").await;
    let status = poll::until("the snapshot to be told", poll::Patience::ms(20, 10_000), async || {
        let status = lab::status(&dirs[1])?;
        let is_told = status.deeds.iter().any(|deed| deed.did == "take snapshot");
        Ok(if is_told { poll::Seen::Ready(status) } else { poll::Seen::NotYet("not yet".into()) })
    });
    let status = status.await.unwrap();
    assert!(status.snapshots[0].bytes > 10_000_000 && status.instances[0].bytes > 10_000_000, "{status:?}");
    let deed = status.deeds.iter().find(|deed| deed.did == "take snapshot").unwrap();
    assert!(deed.bytes.unwrap() > 10_000_000 && deed.stood_ms.is_some() && deed.ms > 0, "{deed:?}");
    assert!(status.deeds.iter().any(|deed| deed.did == "create" && deed.id == "shop"), "{:?}", status.deeds);

    // The certificate of an authority is what others may read; everything else is the lab's own.
    let open: Vec<PathBuf> = files(&dirs[1]).into_iter().filter(|file| is_open(&dirs[1], file)).collect();
    assert_eq!(open, [status.ca()], "others may read these");
    assert!(lab::down(&dirs[1]).await.unwrap());
}

/// The worst kill: everything but the servers, amid an upgrade whose `pg_upgrade` goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn down_leaves_nothing_of_a_killed_lab() {
    let (from, to) = pair().await;
    let scratch = scratch();
    let dir = scratch.path().join("lab");
    let _guard = Guard(dir.clone());
    let found = lab::up(&dir, program(&dir)).await.unwrap();
    let rds = rds_at(&found.url);
    create(&rds, "one", &from.to_string()).await;
    settle(&rds, "one", "available").await;
    rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier("s").send().await.unwrap();
    snapshot_settles(&rds, "s", "available").await;
    rds.modify_db_snapshot().db_snapshot_identifier("s").engine_version(to.to_string()).send().await.unwrap();
    create(&rds, "two", &from.to_string()).await;
    let begun = poll::until("pg_upgrade", poll::Patience::ms(2, 60_000), async || {
        let seen = processes(&dir).iter().any(|process| process.contains("/pg_upgrade"));
        Ok(if seen { poll::Seen::Ready(()) } else { poll::Seen::NotYet("not yet".into()) })
    });
    begun.await.unwrap();
    found.process.signal(Signal::SIGKILL);
    assert!(found.process.wait_gone_blocking(std::time::Duration::from_secs(20)));
    assert!(processes(&dir).len() > 1, "the servers and the upgrade go on");
    let sockets: Vec<PathBuf> = files(&dir)
        .iter()
        .filter(|file| file.ends_with("sockets"))
        .filter_map(|link| std::fs::read_link(link).ok())
        .collect();

    assert!(lab::down(&dir).await.unwrap());
    let gone = poll::until("every process to be gone", poll::Patience::ms(20, 10_000), async || {
        let left = processes(&dir);
        Ok(if left.is_empty() { poll::Seen::Ready(()) } else { poll::Seen::NotYet(left.join("\n")) })
    });
    gone.await.unwrap();
    let is_socket = |file: &PathBuf| std::fs::symlink_metadata(file).is_ok_and(|meta| meta.file_type().is_socket());
    assert_eq!(files(&dir).into_iter().find(is_socket), None);
    assert!(sockets.iter().all(|folder| !folder.exists()), "{sockets:?} are left");

    // It is taken up as if nothing had been.
    let again = lab::up(&dir, program(&dir)).await.unwrap();
    assert_eq!(again.url, found.url);
    settle(&rds, "two", "available").await;
    assert_eq!(snapshot_settles(&rds, "s", "available").await, to.to_string());
    assert!(lab::down(&dir).await.unwrap());
}
