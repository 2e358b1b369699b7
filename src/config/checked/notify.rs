//! `[notify.NAME]`: one way each, and every file with a secret is there and not open to everybody.

use lettre::message::Mailboxes;

use crate::config::file;
use crate::config::load::Source;
use crate::config::notify::{Notify, Template, Tls, Url, Via, Way};
use crate::director::incident::Kind;

use super::{Checker, Entry};

const TIMEOUT_MS: u64 = 10_000;
/// The port that mail is submitted to.
const SMTP_PORT: u16 = 587;
/// The port whose TLS begins with the first octet.
const SMTPS_PORT: u16 = 465;

impl Checker {
    pub(super) fn notify(&mut self, sources: &[Source]) -> Vec<Notify> {
        let entries = self.entries(sources, "notify", |tables| &tables.notify);
        entries.into_iter().filter_map(|entry| self.one_notify(&entry)).collect()
    }

    fn one_notify(&mut self, entry: &Entry<'_, file::Notify>) -> Option<Notify> {
        let (source, table) = (entry.source, entry.table);
        let events = match &table.events {
            None => Kind::ALL.into(),
            Some(list) => {
                let words = Kind::ALL.map(|kind| (kind.as_str(), kind));
                if list.get_ref().is_empty() {
                    self.at(source, list.span(), "it is told of nothing", "leave the key out for everything");
                }
                list.get_ref().iter().filter_map(|text| self.choice(source, Some(text), &words)).collect()
            }
        };
        let timeout_ms = self.duration(source, table.timeout.as_ref(), TIMEOUT_MS);
        let name = entry.name.get_ref();
        let ways =
            [table.mail.is_some(), table.webhook.is_some() || table.webhook_file.is_some(), table.exec.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            let message = format!("notify `{name}` must have exactly one of mail, webhook, webhook-file and exec");
            self.at(source, entry.name.span(), message, "write one table for each way");
            return None;
        }
        self.misplaced(entry);
        let way = match (&table.mail, &table.exec) {
            (Some(to), _) => self.mail(entry, to)?,
            (_, Some(argv)) => Way::Exec(self.argv(source, Some(argv), "/usr/local/bin/tell")),
            _ => self.webhook(entry)?,
        };
        Some(Notify { name: name.clone(), way, events, timeout_ms })
    }

    /// A key that belongs to another way was meant to do something.
    fn misplaced(&mut self, entry: &Entry<'_, file::Notify>) {
        let (source, table) = (entry.source, entry.table);
        let (mail, web) = (table.mail.is_some(), table.webhook.is_some() || table.webhook_file.is_some());
        let texts = [
            ("from", &table.from, mail),
            ("smtp", &table.smtp, mail),
            ("tls", &table.tls, mail),
            ("user", &table.user, mail),
            ("password-file", &table.password_file, mail),
            ("template", &table.template, web),
            ("token-file", &table.token_file, web),
            ("ca-file", &table.ca_file, mail || web),
        ];
        for (key, value, fits) in texts {
            if let Some(value) = value.as_ref().filter(|_| !fits) {
                self.at(source, value.span(), format!("{key} means nothing here"), "remove it");
            }
        }
        if let Some(argv) = table.sendmail.as_ref().filter(|_| !mail) {
            self.at(source, argv.span(), "sendmail means nothing here", "remove it");
        }
    }

    fn mail(&mut self, entry: &Entry<'_, file::Notify>, to: &file::Text) -> Option<Way> {
        let (source, table) = (entry.source, entry.table);
        let mut addresses = |text: &file::Text| {
            if let Err(error) = text.get_ref().parse::<Mailboxes>() {
                let message = format!("`{}` is no mail address: {error}", text.get_ref());
                self.at(source, text.span(), message, "write \"ops@example.org\", or several with commas");
            }
            text.get_ref().clone()
        };
        let to_text = addresses(to);
        let from = table.from.as_ref().map(addresses);
        let from = from.unwrap_or_else(|| to_text.split(',').next().unwrap_or_default().trim().to_owned());
        let via = match (&table.sendmail, &table.smtp) {
            (None, None) => Via::Sendmail(["/usr/sbin/sendmail", "-t"].map(str::to_owned).to_vec()),
            (Some(argv), None) => Via::Sendmail(self.argv(source, Some(argv), "/usr/sbin/sendmail")),
            (None, Some(smtp)) => self.smtp(entry, smtp)?,
            (Some(argv), Some(_)) => {
                self.at(source, argv.span(), "mail goes by sendmail or by smtp, not both", "remove one");
                return None;
            }
        };
        Some(Way::Mail { to: to_text, from, via })
    }

    fn smtp(&mut self, entry: &Entry<'_, file::Notify>, smtp: &file::Text) -> Option<Via> {
        let (source, table) = (entry.source, entry.table);
        let (host, port) = match smtp.get_ref().rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (smtp.get_ref().as_str(), Some(SMTP_PORT)),
        };
        let Some(port) = port.filter(|port| *port != 0 && !host.is_empty()) else {
            let message = format!("`{}` is no HOST:PORT", smtp.get_ref());
            self.at(source, smtp.span(), message, "write for example \"mail.example.org:587\"");
            return None;
        };
        let words = [("starttls", Tls::Starttls), ("tls", Tls::Implicit), ("off", Tls::Off)];
        let usual = if port == SMTPS_PORT { Tls::Implicit } else { Tls::Starttls };
        let tls = self.choice(source, table.tls.as_ref(), &words).unwrap_or(usual);
        let login = match (&table.user, &table.password_file) {
            (None, None) => None,
            (Some(user), Some(file)) => {
                if tls == Tls::Off {
                    self.at(source, user.span(), "the password would travel in the clear", "use tls = \"starttls\"");
                }
                Some((user.get_ref().clone(), self.secret(source, file)?))
            }
            (Some(half), None) | (None, Some(half)) => {
                self.at(source, half.span(), "user and password-file go together", "give both, or neither");
                None
            }
        };
        let ca_file = table.ca_file.as_ref().and_then(|text| self.readable(source, text));
        // An IPv6 address stands in brackets before a port.
        Some(Via::Smtp { host: host.trim_matches(['[', ']']).to_owned(), port, tls, ca_file, login })
    }

    fn webhook(&mut self, entry: &Entry<'_, file::Notify>) -> Option<Way> {
        let (source, table) = (entry.source, entry.table);
        let words = [("generic", Template::Generic), ("ntfy", Template::Ntfy), ("slack", Template::Slack)];
        let template = self.choice(source, table.template.as_ref(), &words).unwrap_or(Template::Generic);
        let url = match (&table.webhook, &table.webhook_file) {
            (Some(url), Some(_)) => {
                self.at(source, url.span(), "webhook and webhook-file name the same thing", "remove one");
                return None;
            }
            (Some(url), None) => self.webhook_url(source, url, template)?,
            (None, file) => Url::File(file.as_ref().and_then(|file| self.secret(source, file))?),
        };
        let token_file = table.token_file.as_ref().and_then(|text| self.secret(source, text));
        let ca_file = table.ca_file.as_ref().and_then(|text| self.readable(source, text));
        Some(Way::Webhook { url, template, token_file, ca_file })
    }

    fn webhook_url(&mut self, source: &Source, url: &file::Text, template: Template) -> Option<Url> {
        // What is wrong with it is told without it: it may hold a secret.
        let wrong = match reqwest::Url::parse(url.get_ref()) {
            Err(error) => Some(format!("this is no URL: {error}")),
            Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => {
                Some(format!("`{}` is no scheme for a webhook", parsed.scheme()))
            }
            Ok(parsed) if parsed.password().is_some() => Some("secrets come from files".to_owned()),
            Ok(parsed) if template == Template::Ntfy && parsed.path().ends_with('/') => {
                Some("the URL ends in no topic".to_owned())
            }
            Ok(_) => None,
        };
        match wrong {
            None => Some(Url::Given(url.get_ref().clone())),
            Some(message) => {
                let hint = "write https://HOST/PATH, or put the URL into a file and name that with webhook-file";
                self.at(source, url.span(), message, hint);
                None
            }
        }
    }
}
