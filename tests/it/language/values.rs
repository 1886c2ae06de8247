//! Values with guards: LSNs, secrets, comparisons, missing properties, numbers.

use super::{fails, says};
use crate::pgrun::Pgrun;

/// A secret never becomes text, on whatever way it is printed.
#[test]
fn a_secret_prints_as_a_mask() {
    says(
        r#"let s = random_password();
           print(s); debug(s); say(`pw=${s}`); print([s]); print(#{ k: s }); say(`${[s]} ${#{ k: [s] }}`);
           say("" + [s]); say(s.to_string()); say([s].to_string()); say(s.to_debug()); say(error_text(s));
           let t = "x"; try { t += s; } catch (e) { say(e.code); }
           say(t);"#,
        &[
            "***",
            "pw=***",
            "[***]",
            "#{\"k\": ***}",
            "[***] #{\"k\": [***]}",
            "[***]",
            "***",
            "[***]",
            "***",
            "a secret",
            "secret_guard",
            "x",
        ],
    );
}

/// What would make a text of it raises, and the error does not show it either.
#[test]
fn a_secret_is_refused_where_text_is_made() {
    for expression in [
        "\"x\" + s",
        "s + \"x\"",
        "s + s",
        "'c' + s",
        "s + 1",
        "s.to_json()",
        "#{ k: s }.to_json()",
        "[s].to_json()",
        "say(s)",
        "say([s])",
        "table([#{ k: s }])",
        "literal(s)",
        "ident(s)",
        "s.len()",
        "s.contains(\"a\")",
        "\"abc\".contains(s)",
        "\"abc\".replace(\"a\", s)",
        "s == \"x\"",
        "\"x\" != s",
        "s < \"x\"",
        "require(false, s)",
        "throw s",
        "throw #{ message: \"m\", pw: s }",
        "s.x",
        "s[0]",
    ] {
        let output = Pgrun::of(&format!("let s = random_password(); step \"a\" {{ {expression}; }}")).run();
        output.exit(1).stdout("").stderr_lacks("base::secret");
    }
    fails("let s = random_password(); step \"a\" { s }", "secret_guard", "the value of step `a` is a secret");
    fails(
        "let s = random_password(); step \"a\" { #{ k: [s] } }",
        "secret_guard",
        "the value of step `a`.k[0] is a secret",
    );
    fails(
        "confirm \"q\" with #{ shows: #{ pw: random_password() } }",
        "secret_guard",
        "what the gate shows.pw is a secret",
    );
}

/// Secrets are compared with each other only.
#[test]
fn secrets_are_compared_with_secrets() {
    says(
        "let a = random_password(); let b = random_password(); say(a == b); say(a == a); say(a != b);",
        &["false", "true", "true"],
    );
    says("let a = random_password(); say(a == ()); say(() != a);", &["false", "true"]);
}

/// Rhai finds a comparison of an LSN with anything else false, without a word.
#[test]
fn an_lsn_is_compared_with_lsns_only() {
    says(
        r#"let a = lsn("0/5"); let b = lsn("1/0");
           say(a < b); say(a == lsn("0/5")); say(a >= b); say(b - a); say(a + 3); say(`${[a, b]}`); say(a.max(b)); say(min(a, b));
           let c = a; c += 16; say(c); say([a, b].contains(b)); say([a].to_json());"#,
        &[
            "true",
            "true",
            "false",
            "4294967291",
            "0/8",
            "[0/5, 1/0]",
            "1/0",
            "0/5",
            "0/15",
            "true",
            "[{\"$lsn\":\"0/5\"}]",
        ],
    );
    for comparison in
        ["a < \"0/5\"", "\"0/5\" > a", "a == \"0/5\"", "a != 5", "a <= ()", "[a].contains(\"0/5\")", "5 == a"]
    {
        fails(&format!("let a = lsn(\"0/5\"); say({comparison});"), "value_guard", "an lsn cannot be compared with");
    }
    fails("lsn(\"5\")", "value_guard", "got \"5\", wanted an LSN");
    fails("lsn(5)", "script_error", "argument 1 of `lsn`: got an int, wanted a text");
}

/// Which of two is the larger has no answer between types; Rhai says false.
#[test]
fn what_has_no_order_is_not_ordered() {
    let without =
        ["\"17.4\" < 18", "1 >= \"1\"", "() < 1", "5 > ()", "\"a\" <= ()", "[1] < [2]", "true < 1", "#{} < 1"];
    for comparison in without {
        fails(&format!("say({comparison});"), "value_guard", "cannot be compared with");
    }
    says(
        r#"let nan = 0.0 / 0.0; say(nan < 1); say(nan >= 1); say("ab" > 'a');
           say(1 < 1.5); say(2.0 >= 2); say("a" < "b"); say('a' < 'b'); say("a" == 5); say(() == ()); say(1 == ());
           say(parse_decimal("1.10") < 2); say(1 < parse_decimal("1.10"));"#,
        &["false", "false", "true", "true", "true", "true", "true", "false", "true", "false", "true", "true"],
    );
    // SQL's `numeric` comes as a decimal; a literal of a script is a float.
    says(
        r#"let d = parse_decimal("1.5"); say(d < 1.75); say(2.5 > d); say(d == 1.5); say(d >= 1.75); say(d != 1.5);"#,
        &["true", "true", "true", "false", "false"],
    );
}

/// A property that a map lacks is an error, not `()`; to ask there is `get` and `in`.
#[test]
fn a_missing_property_is_an_error() {
    let missing = "roperty";
    fails("let m = #{ a: 1 }; m.typo", "script_error", missing);
    fails("let m = #{ a: 1 }; m[\"typo\"]", "script_error", missing);
    fails("let m = #{ a: 1 }; step \"s\" { m.typo ?? 5 }", "script_error", missing);
    fails("let m = #{ a: #{} }; m.a.b = m.a.c;", "script_error", missing);
    says("let m = #{ a: 1 }; say(m.get(\"b\") ?? 5); say(\"b\" in m); m.b = 2; say(m.b);", &["5", "false", "2"]);
}

/// What cannot come back from the journal unchanged is refused, by name.
#[test]
fn only_plain_values_are_kept() {
    for (value, kind) in
        [("|| 1", "function"), ("0..5", "range"), ("[1, [0..5]]", "range"), ("Fn(\"say\")", "function")]
    {
        fails(&format!("step \"s\" {{ {value} }}"), "not_journalable", &format!("is a {kind}, which cannot be kept"));
    }
    fails("step \"s\" { #{ a: [1, || 2] } }", "not_journalable", "the value of step `s`.a[1] is a function");
}

/// A resumed run sees the same values, of the same types, as the first one.
#[test]
fn kept_values_come_back_as_they_were() {
    let pgrun = Pgrun::of(
        r#"let v = step "look" {
               #{ int: -5, whole: 2.0, half: 0.5, inf: 1.0 / 0.0, dec: parse_decimal("1.10"), text: "é🙂\n", nul: (), yes: true,
                  lsn: lsn("A/B"), list: [1, [2]], map: #{ "$lsn": "no", "": 1 }, big: 9223372036854775807, ch: 'x',
                  bytes: blob(2, 65) }
           };
           let c = step "char" { 'x' };
           let keys = v.keys();
           say(keys.map(|k| `${k}=${v[k]}:${type_of(v[k])}`).reduce(|all, x| `${all ?? ""}${x};`)); say(type_of(c));
           confirm "go?";"#,
    );
    let first = pgrun.run().exit(75);
    let again = pgrun.resume().exit(75);
    assert_eq!(first.stdout, again.stdout);
    assert!(first.stdout.contains("dec=1.10:decimal;") && first.stdout.contains("lsn=A/B:"), "{}", first.stdout);
    pgrun.pgrun(&["resume", "r", "--answer", "go?=yes"]).exit(0).stdout(&first.stdout);
}

/// Errors that scripts catch are maps, whoever raised them inside a step.
#[test]
fn a_caught_error_is_a_map() {
    says(
        r#"try { step "a" { lsn("x") } } catch (e) { say(`${e.code} ${e.line} ${e.source} ${e.hint} ${e.sqlstate}`); }
           try { step "b" { let m = #{}; m.typo } } catch (e) { say(`${e.code} ${e.line} ${e.message}`); }
           try { step "c" { no() } } catch (e) { say(e); }
           fn no() { throw "a text" }
           try { step "d" { throw #{ code: "mine", n: 7 } } } catch (e) { say(e.n); }
           try { step "e" { no() } } catch (e) { say(e); say(error_text(e)); }"#,
        &["value_guard 1 main.rhai  ", "script_error 2 property not found: typo", "a text", "7", "a text", "a text"],
    );
}

/// JSON of maps and lists is the strict one, not Rhai's, which writes type names.
#[test]
fn json_is_strict() {
    says(
        r#"say([1.0, "é", ()].to_json()); say(#{ l: lsn("0/1") }.to_json()); say(parse_json(`{"a": [1, 2.5, null]}`).a[1]);"#,
        &["[{\"$float\":\"1\"},\"é\",null]", "{\"l\":{\"$lsn\":\"0/1\"}}", "2.5"],
    );
    fails("[|| 1].to_json()", "not_journalable", "is a function");
}
