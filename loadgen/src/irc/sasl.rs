//! The login with SASL PLAIN, before the registration ends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::Message;
use crate::plan::Account;
use crate::record::Failure;

/// The number of bytes of an encoded login that one line may have. A shorter
/// line ends the login.
const MAX_CHUNK_BYTES: usize = 400;

/// A login that is not over.
#[derive(Debug)]
pub(super) struct SaslLogin {
    account: Account,
}

impl SaslLogin {
    /// Returns a login for `account`.
    pub(super) const fn new(account: Account) -> Self {
        Self { account }
    }

    /// Returns the line that begins the login. The server ends no registration
    /// before `CAP END`.
    pub(super) const fn begin() -> &'static str {
        "CAP REQ :sasl\r\n"
    }

    /// Processes a line of the server. Returns the answer; `None` if the line
    /// is not part of the login.
    pub(super) fn on_line(&self, message: &Message<'_>, line: &[u8]) -> Result<Option<String>, Failure> {
        if message.command == b"CAP" {
            return match message.second() {
                b"ACK" => Ok(Some("AUTHENTICATE PLAIN\r\n".to_owned())),
                b"NAK" => Err(Failure::protocol("the target does not offer a login with SASL:", Some(line))),
                _ => Ok(None),
            };
        }
        if message.command == b"AUTHENTICATE" {
            return Ok(Some(self.credentials()));
        }
        match message.numeric() {
            Some(903 | 907) => Ok(Some("CAP END\r\n".to_owned())),
            Some(902 | 904..=906 | 908) => {
                let text = format!("the target refused the SASL login of `{}`:", self.account.name);
                Err(Failure::protocol(&text, Some(line)))
            }
            _ => Ok(None),
        }
    }

    fn credentials(&self) -> String {
        let Account { name, password } = &self.account;
        let text = STANDARD.encode(format!("\0{name}\0{password}"));
        let mut lines = String::new();
        let mut rest = &*text;
        loop {
            let (chunk, next) = rest.split_at(rest.len().min(MAX_CHUNK_BYTES));
            lines += &format!("AUTHENTICATE {}\r\n", if chunk.is_empty() { "+" } else { chunk });
            if chunk.len() < MAX_CHUNK_BYTES {
                return lines;
            }
            rest = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(password: &str) -> SaslLogin {
        SaslLogin::new(Account { name: "load1".into(), password: password.into() })
    }

    fn answer(login: &SaslLogin, line: &str) -> Result<Option<String>, Failure> {
        login.on_line(&Message::parse(line.as_bytes()).expect("a line"), line.as_bytes())
    }

    #[test]
    fn a_login_follows_the_answers_of_the_server() {
        let login = login("secret");
        for (line, expected) in [
            (":s CAP * ACK :sasl", Some("AUTHENTICATE PLAIN\r\n")),
            ("AUTHENTICATE +", Some("AUTHENTICATE AGxvYWQxAHNlY3JldA==\r\n")),
            (":s 900 * * load1 :You are now logged in", None),
            (":s 903 * :SASL authentication successful", Some("CAP END\r\n")),
        ] {
            assert_eq!(answer(&login, line).expect(line).as_deref(), expected, "{line}");
        }
        for line in [":s CAP * NAK :sasl", ":s 904 * :SASL authentication failed"] {
            let failure = format!("{:?}", answer(&login, line).expect_err(line));
            assert!(!failure.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn a_long_login_is_divided_and_ends_with_a_short_line() {
        let lengths = |password_bytes| -> Vec<usize> {
            let text = login(&"x".repeat(password_bytes)).credentials();
            text.lines().map(|line| line.len() - "AUTHENTICATE ".len()).collect()
        };
        // 300 bytes are 400 in Base64.
        assert_eq!(lengths(290), [396]);
        assert_eq!(lengths(293), [400, 1]);
        assert_eq!(lengths(294), [400, 4]);
    }
}
