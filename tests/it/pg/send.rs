//! Primitives can be spawned: their futures may move between threads. Nothing is run here.
//!
//! Those that wait with `poll::until` cannot, yet: the compiler does not see that an async closure which borrows a session
//! may move. They are joined instead.

use pgrun::pg::{
    Session, fence, inventory, meeting, origin, own, publication, roles, schema, sequences, slot, subscription, verify,
};

fn movable<T: Send>(_: T) {}

#[expect(dead_code, reason = "it only has to compile")]
fn all(s: &'static Session, new: &'static subscription::NewSubscription<'static>, role: &'static roles::NewRole) {
    movable(s.query("", &[]));
    movable(s.batch(""));
    movable(s.commit());
    movable(s.server());
    movable(sequences::copy(s, s));
    movable(sequences::copy_again(s, s, &[]));
    movable(roles::create(s, role));
    movable(roles::restore(s, &[]));
    movable(slot::create(s, "", std::time::Duration::ZERO));
    movable(publication::create(s, "", publication::Scope::AllTables, false));
    movable(subscription::create(s, s, new));
    movable(subscription::drop(s, ""));
    movable(origin::advance(s, "", pgrun::base::Lsn(0)));
    movable(own::ensure(s));
    movable(fence::reopen(s));
    movable(fence::decide(s, ""));
    movable(meeting::evidence(s, s, "", "", meeting::Recovery::Aurora { start: pgrun::base::Lsn(0) }));
    movable(inventory::look(s, inventory::Scope::Server));
    movable(schema::fingerprint(s));
    movable(verify::compare(s, s));
}
