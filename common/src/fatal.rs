//! What a server says when it cannot start or cannot go on.

use std::fmt;

/// The error that ends a server, told in one line.
///
/// `fn main() -> Result<(), E>` prints `Error: ` and then `E` in its `Debug` form, and exits with 1.
/// anyhow's own `Debug` form is several lines and, under `RUST_BACKTRACE=1`, a backtrace. Somebody
/// whose port is in use wants one line that names the port.
pub struct Fatal(anyhow::Error);

impl From<anyhow::Error> for Fatal {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The alternate form is the whole chain of causes, separated by colons.
        write!(f, "{:#}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_whole_chain_of_causes_stands_in_one_line() {
        let error = anyhow!("Address already in use").context("cannot listen on 127.0.0.1:9000");
        let line = format!("{:?}", Fatal::from(error));
        assert_eq!(line, "cannot listen on 127.0.0.1:9000: Address already in use");
    }
}
