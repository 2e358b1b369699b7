//! Random numbers that nobody can foresee, for IDs and ports of relayed queries.

use std::io;

/// What getentropy(2) gives at once, in octets.
const POOL_LEN: usize = 256;

/// Numbers from the system's own source, fetched a pool at a time.
pub struct Random {
    pool: [u8; POOL_LEN],
    used: usize,
}

impl Random {
    /// Fails if the system has no randomness to give.
    pub fn new() -> io::Result<Random> {
        let mut random = Random { pool: [0; POOL_LEN], used: 0 };
        random.refill()?;
        Ok(random)
    }

    /// The next number. If the system should stop giving (it never does once it has begun), the
    /// error is passed on: a number that can be foreseen is worse than none.
    pub fn next_u16(&mut self) -> io::Result<u16> {
        if self.used + 2 > POOL_LEN {
            self.refill()?;
        }
        let number = u16::from_be_bytes([self.pool[self.used], self.pool[self.used + 1]]);
        self.used += 2;
        Ok(number)
    }

    fn refill(&mut self) -> io::Result<()> {
        // SAFETY: the pool is ours and as long as we say, and no longer than getentropy(2) allows.
        if unsafe { libc::getentropy(self.pool.as_mut_ptr().cast(), POOL_LEN) } != 0 {
            return Err(io::Error::last_os_error());
        }
        self.used = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_do_not_run_out() {
        let mut random = Random::new().unwrap();
        let numbers: std::collections::HashSet<u16> = (0..1000).map(|_| random.next_u16().unwrap()).collect();
        assert!(numbers.len() > 900, "only {} of 1000", numbers.len());
    }
}
