#!/bin/sh
# Records the journals of this folder anew: record.sh PGRUN URL
#
# PGRUN is the binary, URL a database of any PostgreSQL server that takes any password, with one in it. The journals of
# a format that was ever released are never recorded again: they are what users have on their disks. A new format gets
# new files beside these. The meaning beside each journal (.json) is what the test prints as found, kept
# after a person has read it against the runbook below.
#
# As another user on a machine of another name: unshare --uts sh -c 'hostname dba; record.sh ..'
set -u
pgrun=$(realpath "$1")
url=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work" || exit 1

head='let p = params(#{ db: #{ type: "url", help: "where" } });
let db = pg::connect(p.db);
fn did(db, name) { db.execute("insert into public.effects values ($1)", [name]); name }
fn undid(db, name) { db.execute("insert into public.effects values ($1)", ["-" + name]); }
fn has(db, name) { db.exists("select from public.effects where name = $1", [name]) }
'
book() {
    run=$1
    # A home of its own: what one run claims is no hindrance to the next.
    export PGRUN_HOME="$work/$run.home"
    printf '%s%s\n' "$head" "$2" > main.rhai
    psql -qX "$url" -c 'drop table if exists effects; create table effects (name text)' 2> /dev/null
}
begin() { want=$1; shift; wants "$want" main.rhai --run-id "$run" --set "db=$url" "$@"; }
dies() { PGRUN_CRASH=$1 wants 134 main.rhai --run-id "$run" --set "db=$url" --yes; }
again() { want=$1; shift; wants "$want" resume "$run" --set "db=$url" "$@"; }
back() { want=$1; shift; wants "$want" undo "$run" --yes --set "db=$url" "$@"; }
# Runs pgrun and compares its exit code, so that nothing is kept that did not happen as it was meant.
wants() {
    wanted=$1
    shift
    "$pgrun" "$@" < /dev/null > out 2>&1
    got=$?
    [ "$got" = "$wanted" ] && return
    echo "$run: exit $got, wanted $wanted"
    cat out
    exit 1
}
keep() { cp "$PGRUN_HOME/runs/$run/journal.jsonl" "$here/$run.jsonl" && chmod 644 "$here/$run.jsonl"; }

book done 'step "look" { db.value("select 1") }
phase "prepare" {
    for k in ["x", "y"] { step "k" with #{ key: k } { did(db, k); #{ name: k, share: 0.1 + 0.2, at: [1, ()] } } }
    step "there" check { true } { did(db, "there") }
    phase "inner" { step "é \"quoted\" 🐘" { did(db, "e") } }
    parallel { step "left" { did(db, "left") } } also { step "right" { did(db, "right") } }
}
confirm "go on?" with #{ gate: "go" };
phase "switch" with #{ on_failure: "undo" } { step "s" { did(db, "s") } verify { has(db, "s") } undo { undid(db, "s"); } }'
begin 0 --yes
keep

book killed 'phase "p" { step "a" { did(db, "a") } step "blind" { did(db, "blind") } step "c" { did(db, "c") } }'
dies before:done:blind
keep

book torn 'step "a" { did(db, "a") } step "b" { did(db, "b") }'
dies after:done:b
keep
truncate -s -40 "$here/torn.jsonl"

book mended 'step "a" { did(db, "a") } step "b" with #{ retry: "safe" } { did(db, "b") }'
dies after:done:b
truncate -s -40 "$PGRUN_HOME/runs/mended/journal.jsonl"
again 0
keep

book undone_twice 'step "before" { did(db, "before") }
phase "outer" { phase "window" with #{ on_failure: "undo" } {
    step "a" { did(db, "a") } undo { undid(db, "a"); }
    step "b" { did(db, "b") } undo |v| { undid(db, v); }
    step "enough" { require(has(db, "enough"), "not yet") }
} }'
begin 1
again 1
psql -qX "$url" -c "insert into effects values ('enough')"
again 0
keep

book caught 'for n in 0..3 { try { step "f" with #{ key: n } {
    did(db, `${n}`); if n == 0 { throw () } else if n == 1 { throw #{ a: [1, 2.5] } } else { db.execute("select 1/0") }
} } catch (e) { } }
step "after" { did(db, "after") }
confirm "go on?" with #{ gate: "go" };'
begin 75
again 0 --answer go=yes
keep

book gate_no_then_yes 'step "a" { did(db, "a") } confirm "sure?" with #{ gate: "sure" }; step "b" { did(db, "b") }'
begin 75
again 1 --answer sure=no
again 0 --answer sure=yes
keep

book decided 'let v = step "blind" { did(db, "blind") } undo { undid(db, "blind"); };
step "next" { did(db, `${v}`) } step "f" { throw "never" }'
dies before:done:blind
again 75
again 1 --decide 'blind=done:"by hand"' --why "it stands in the table"
again 0 --decide f=skip --why "not needed here"
keep

undoable='let a = step "a" { did(db, "a") } undo |v| { undid(db, "a"); };
step "look" { db.value("select 1") }
phase "p" { for k in ["x", "y"] { step "k" with #{ key: k } { did(db, k) } undo { undid(db, k); } } }
confirm "go on?" with #{ gate: "go" };
step "z" { did(db, "z") } undo { undid(db, "z"); }'
book undone "$undoable"
begin 0 --yes
back 0
keep

book undone_in_part "$undoable"
begin 0 --yes
back 75 --to "k [y]"
again 0 --answer go=yes
keep

book undo_waits 'step "a" { did(db, "a") } undo { undid(db, "a"); }
step "b" { did(db, "b") } undo { db.execute("insert into public.mended values (1)"); }
step "c" { did(db, "c") } undo { undid(db, "c"); }
confirm "go on?" with #{ gate: "go" };'
begin 75
back 75
keep

book abandoned 'step "a" { did(db, "a") } confirm "go on?" with #{ gate: "go" }; step "b" { did(db, "b") }'
begin 75
wants 0 abandon "$run" --why "the window is over"
keep

book adopted 'step "a" { did(db, "a") } confirm "go on?" with #{ gate: "go" }; step "b" { did(db, "b") }'
begin 75
printf '%s%s\n' "$head" \
    'step "a" { did(db, "not again") } confirm "go on?" with #{ gate: "go" }; step "b" { did(db, "better") }' > main.rhai
again 0 --adopt --yes
keep

rm -rf "$work"
