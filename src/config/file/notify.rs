//! `[notify.NAME]`: one destination of notifications.

use toml::Spanned;

use super::Text;
use crate::config::keys::table;

table! {
    /// One destination of notifications (docs/notifications.md): exactly one of `mail`, `webhook` (or
    /// `webhook-file`) and `exec`, and what belongs to it. Secrets come from files and are read at each
    /// delivery.
    Notify at "[notify.NAME]" {
        /// Recipients, with commas between them.
        mail: Text => "mail addresses", Unset, r#""ops@example.org""#;
        /// For `mail`: the sender.
        from: Text => "mail address", Says("the first recipient"), r#""failover@example.org""#;
        /// For `mail`: the program that takes the message on its standard input, with its arguments.
        sendmail: Spanned<Vec<String>> => "list of words", Is(r#"["/usr/sbin/sendmail", "-t"]"#), r#"["/usr/sbin/sendmail", "-t", "-i"]"#;
        /// For `mail`: a mail server in its place; port 587 may be left out.
        smtp: Text => "`HOST:PORT`", Unset, r#""mail.example.org:587""#;
        /// For `smtp`: whether TLS begins after a word, at once, or not at all.
        tls: Text => r#""starttls", "tls" or "off""#, Says(r#""starttls"; "tls" on port 465"#), r#""tls""#;
        /// For `smtp`: log in as; together with `password-file`, and never without TLS.
        user: Text => "text", Unset, r#""failover""#;
        /// For `smtp`: the file that holds the password.
        password_file: Text => "path", Unset, r#""/etc/nsd-failover/smtp.password""#;
        /// Where the record is posted.
        webhook: Text => "URL", Unset, r#""https://hooks.example.org/failover""#;
        /// The file that holds the URL, where the URL is a secret.
        webhook_file: Text => "path", Unset, r#""/etc/nsd-failover/slack.url""#;
        /// For `webhook`: what is posted: the record as JSON, or what ntfy or Slack want.
        template: Text => r#""generic", "ntfy" or "slack""#, Is(r#""generic""#), r#""slack""#;
        /// For `webhook`: the file that holds a bearer token.
        token_file: Text => "path", Unset, r#""/etc/nsd-failover/ntfy.token""#;
        /// For `smtp` and `webhook`: trust only these authorities, PEM.
        ca_file: Text => "path", Says("the system's authorities"), r#""/etc/ssl/own-ca.pem""#;
        /// A program that gets the record as JSON on its standard input, with its arguments.
        exec: Spanned<Vec<String>> => "list of words", Unset, r#"["/usr/local/bin/tell", "--loudly"]"#;
        /// What is told.
        events: Spanned<Vec<Text>> => "list of events", Says("everything"), r#"["all-down", "export-failed", "recovery"]"#;
        /// Deadline of one attempt.
        timeout: Text => "duration", Is(r#""10s""#), r#""30s""#;
    }
}
