use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::parameters::HARMLESS;
use super::*;

fn good(url: &str) -> Parsed {
    parse(url).unwrap_or_else(|faults| panic!("{url}: {faults:?}"))
}

fn bad(url: &str) -> String {
    let faults = parse(url).expect_err(url);
    faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ")
}

fn tcp(host: &str, port: u16) -> PostgresHost {
    PostgresHost::Tcp { host: host.to_owned(), port }
}

fn unix(directory: &str, port: u16) -> PostgresHost {
    PostgresHost::Unix { directory: PathBuf::from(directory), port }
}

#[test]
fn the_parts_of_a_url() {
    let url = good("postgresql://ada:s3cret@db.internal:6432/shop");
    assert_eq!(url.hosts, [tcp("db.internal", 6432)]);
    assert_eq!((url.user.as_str(), url.database.as_str()), ("ada", "shop"));
    assert_eq!(url.password.unwrap().expose_secret(), "s3cret");
    assert_eq!(url.tls.mode, SslMode::Prefer);
    assert_eq!(url.tls.root, SslRoot::Unset);
    assert_eq!(url.channel_binding, ChannelBinding::Prefer);
    assert_eq!(url.target_session_attrs, None);
    assert_eq!((url.connect_timeout, url.keepalives, url.keepalives_idle), (None, None, None));
}

#[test]
fn database_and_port_have_defaults() {
    for url in ["postgres://ada@db", "postgres://ada@db/", "postgres://ada@db:/?sslmode=require"] {
        let url = good(url);
        assert_eq!(url.hosts, [tcp("db", 5432)]);
        assert_eq!(url.database, "ada");
        assert!(url.password.is_none());
    }
}

#[test]
fn several_hosts_addresses_and_sockets() {
    assert_eq!(good("postgres://u@a,b:5433/d").hosts, [tcp("a", 5432), tcp("b", 5433)]);
    assert_eq!(
        good("postgres://u@[::1]:5433,[fe80::1]/d").hosts,
        [tcp("::1", 5433), tcp("fe80::1", 5432)]
    );
    assert_eq!(good("postgres://u@/d?host=/var/run/pg").hosts, [unix("/var/run/pg", 5432)]);
    assert_eq!(good("postgres://u@%2Fvar%2Frun%2Fpg:1/d").hosts, [unix("/var/run/pg", 1)]);
    assert_eq!(
        good("postgres://u@/d?host=a,/s,::1&port=1,2,3").hosts,
        [tcp("a", 1), unix("/s", 2), tcp("::1", 3)]
    );
    assert_eq!(good("postgres://u@a,b/d?port=7").hosts, [tcp("a", 7), tcp("b", 7)]);
    assert_eq!(bad("postgres://u@a,b,c/d?port=1,2"), "2 ports for 3 hosts");
}

#[test]
fn a_single_port_of_the_authority_belongs_to_its_host() {
    assert_eq!(good("postgres://u@a:1,b/d").hosts, [tcp("a", 1), tcp("b", 5432)]);
}

#[test]
fn percent_decoding_everywhere() {
    let url = good("postgres://a%40b:p%2Fq%3A%25+@db/my%20db?sslrootcert=%2Fa%20b.pem");
    assert_eq!((url.user.as_str(), url.database.as_str()), ("a@b", "my db"));
    assert_eq!(url.password.unwrap().expose_secret(), "p/q:%+");
    assert_eq!(url.tls.root, SslRoot::File(PathBuf::from("/a b.pem")));
    for bad_url in ["postgres://u@h/%", "postgres://u@h/%4", "postgres://u@h/%zz"] {
        assert_eq!(bad(bad_url), "a `%` without two hexadecimal digits");
    }
    assert_eq!(bad("postgres://u@h/%00"), "`%00` cannot stand in a URL");
    assert_eq!(bad("postgres://u@h/%ff"), "what `%` stands for is not UTF-8");
}

#[test]
fn parameters_override_the_authority() {
    let url = good("postgres://a:p@h/d?user=b&password=q&dbname=e&host=i&port=9&host=j");
    assert_eq!((url.user.as_str(), url.database.as_str()), ("b", "e"));
    assert_eq!(url.password.unwrap().expose_secret(), "q");
    assert_eq!(url.hosts, [tcp("j", 9)]);
}

#[test]
fn all_modes_of_tls() {
    let mode = |parameters: &str| good(&format!("postgres://u@h/d?{parameters}")).tls.mode;
    assert_eq!(mode("sslmode=disable"), SslMode::Disable);
    assert_eq!(mode("sslmode=allow"), SslMode::Allow);
    assert_eq!(mode("sslmode=prefer"), SslMode::Prefer);
    assert_eq!(mode("sslmode=require"), SslMode::Require);
    assert_eq!(mode("ssl=true"), SslMode::Require);
    assert_eq!(mode("sslmode=verify-ca&sslrootcert=/ca.pem"), SslMode::VerifyCa);
    assert_eq!(mode("sslmode=verify-full&sslrootcert=system"), SslMode::VerifyFull);
    assert_eq!(mode("sslrootcert=system"), SslMode::VerifyFull);
    assert_eq!(mode("sslrootcert=/ca.pem"), SslMode::Prefer);
}

#[test]
fn modes_that_verify_nothing_are_refused() {
    for mode in ["verify-ca", "verify-full"] {
        let faults = parse(&format!("postgres://u@h/d?sslmode={mode}")).unwrap_err();
        assert_eq!(faults[0].message, format!("sslmode={mode} has nothing to verify by"));
        assert!(faults[0].remedy.as_deref().unwrap().contains("sslrootcert=system"));
    }
    for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let message = bad(&format!("postgres://u@h/d?sslrootcert=system&sslmode={mode}"));
        assert_eq!(message, format!("sslmode={mode} is too weak for sslrootcert=system"));
    }
    assert_eq!(bad("postgres://u@h/d?sslcert=/c"), "sslcert without sslkey");
    assert_eq!(bad("postgres://u@h/d?sslkey=/c"), "sslkey without sslcert");
    assert!(
        bad("postgres://u@h/d?channel_binding=require&sslmode=disable").contains("cannot hold")
    );
}

#[test]
fn client_certificate_and_the_rest() {
    let url = good(
        "postgres://u@h/d?sslcert=/c&sslkey=/k&channel_binding=require\
         &target_session_attrs=prefer-standby&connect_timeout=3&keepalives=0&keepalives_idle=30",
    );
    assert_eq!(url.tls.client, Some((PathBuf::from("/c"), PathBuf::from("/k"))));
    assert_eq!(url.channel_binding, ChannelBinding::Require);
    assert_eq!(url.target_session_attrs, Some(TargetSessionAttrs::PreferStandby));
    assert_eq!(url.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(url.keepalives, Some(false));
    assert_eq!(url.keepalives_idle, Some(Duration::from_secs(30)));
}

#[test]
fn unknown_parameters_and_values_have_a_nearest() {
    let nearest = |url: &str| parse(url).unwrap_err().remove(0).nearest;
    assert_eq!(nearest("postgres://u@h/d?sslmod=require").as_deref(), Some("`sslmode`"));
    assert_eq!(
        nearest("postgres://u@h/d?sslmode=verify_full").as_deref(),
        Some("`sslmode=verify-full`")
    );
    assert_eq!(nearest("postgres://u@h/d?frobnicate=1"), None);
}

#[test]
fn the_parameters_of_libpq_are_all_judged() {
    for name in [
        "application_name",
        "fallback_application_name",
        "client_encoding",
        "options",
        "replication",
        "hostaddr",
        "passfile",
        "service",
        "sslpassword",
        "sslcrl",
        "sslcrldir",
        "sslcertmode",
        "ssl_max_protocol_version",
        "require_auth",
        "requirepeer",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    ] {
        let message = bad(&format!("postgres://u@h/d?{name}=1"));
        assert!(message.starts_with(&format!("the parameter {name} is refused: ")), "{message}");
    }
    for (name, value) in HARMLESS {
        good(&format!("postgres://u@h/d?{name}={value}"));
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let message = bad("postgres://:@/d?sslmode=x&connect_timeout=0&keepalives&nope=1");
    assert_eq!(message.split("; ").count(), 6, "{message}");
}

#[test]
fn malformed_urls() {
    for url in [
        "",
        "db",
        "mysql://u@h/d",
        "Postgres://u@h",
        "postgres://",
        "postgres://u@",
        "postgres://u@/d",
        "postgres://h/d",
        "postgres://u@h:x/d",
        "postgres://u@h:0/d",
        "postgres://u@h:65536/d",
        "postgres://u@[::1/d",
        "postgres://u@[zz]/d",
        "postgres://u@[]/d",
        "postgres://u@[::1]x/d",
        "postgres://u@::1/d",
        "postgres://u@a,,b/d",
        "postgres://u@a b/d",
        "postgres://u@h/d@e",
    ] {
        bad(url);
    }
}

/// What is shown of a URL's source.
fn shown(source: &str) -> String {
    let mut bytes = source.as_bytes().to_vec();
    for range in secret_ranges(source) {
        bytes[range].fill(b'*');
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn only_what_is_secret_is_hidden() {
    assert_eq!(shown("\"postgres://ada:pw@db:5432/shop\""), "\"postgres://ada:**@db:5432/shop\"");
    assert_eq!(
        shown("\"postgres://ada@db:5432,[::1]:6/s\""),
        "\"postgres://ada@db:5432,[::1]:6/s\""
    );
    assert_eq!(shown("\"postgres://ada:p@w/x@db/s\""), "\"postgres://ada:*****@db/s\"");
    assert_eq!(shown("\"postgres://ada:secret\""), "\"postgres://ada:******\"");
    assert_eq!(
        shown("\"postgres://a@h/d?password=x&user=b\""),
        "\"postgres://a@h/d?password=*&user=b\""
    );
}

proptest! {
    #[test]
    fn nothing_panics(url in "(postgres://)?[a-z0-9:@/?&=,%\\[\\]ü.]{0,40}") {
        let _ = parse(&url);
        let source = format!("\"{url}\"");
        for range in secret_ranges(&source) {
            prop_assert!(source.get(range).is_some());
        }
    }

    #[test]
    fn no_fault_and_nothing_shown_holds_the_password(
        password in "[a-z!:/?#&=,%@\\[\\]]{0,8}XYZZY[a-z!:/#,%@\\[\\]]{0,8}",
        behind in "(@(db|\\[::1\\]|/)?(:[0-9]{1,6})?(/shop)?(\\?sslmode=(require|x))?)?",
    ) {
        let url = format!("postgres://ada:{password}{behind}");
        if let Err(faults) = parse(&url) {
            prop_assert!(!format!("{faults:?}").contains("XYZZY"), "{:?}", faults);
        }
    }

    #[test]
    fn a_percent_encoded_url_is_parsed_back(
        user in "\\PC{1,8}", password in "\\PC{1,8}", database in "\\PC{1,8}", port in 1..=u16::MAX,
    ) {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let url = good(&format!(
            "postgres://{}:{}@db:{port}/{}", encode(&user), encode(&password), encode(&database),
        ));
        prop_assert_eq!(url.user, user);
        prop_assert_eq!(url.database, database);
        let found = url.password.unwrap();
        prop_assert_eq!(found.expose_secret(), &password);
        prop_assert_eq!(url.hosts, [tcp("db", port)]);
    }
}
