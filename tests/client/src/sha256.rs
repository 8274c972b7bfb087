// SPDX-License-Identifier: GPL-2.0-only

//! SHA-256, as FIPS 180-4 describes it.

/// The first `bits` bits behind the point of the `root`-th root of `n`, an integer.
fn fraction(n: u32, root: u32, bits: u32) -> u32 {
    // The largest x with x^root <= n << (root * bits): its low bits are the fraction.
    let (mut low, mut high) = (0u64, 1u64 << (bits + 5));
    while high - low > 1 {
        let middle = (low + high) / 2;
        if at_most(middle, root, n, bits) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u32
}

/// Whether x^root <= n << (root * bits), for numbers of up to 128 bits.
fn at_most(x: u64, root: u32, n: u32, bits: u32) -> bool {
    u128::from(x)
        .checked_pow(root)
        .is_some_and(|power| power <= u128::from(n) << (root * bits))
}

/// The first 64 primes.
fn primes() -> Vec<u32> {
    (2..312)
        .filter(|n| (2..*n).all(|d| n % d != 0))
        .collect::<Vec<u32>>()
}

pub struct Sha256 {
    constants: [u32; 64],
    state: [u32; 8],
    rest: Vec<u8>,
    length: u64,
}

impl Sha256 {
    pub fn new() -> Self {
        let primes = primes();
        Sha256 {
            constants: core::array::from_fn(|n| fraction(primes[n], 3, 32)),
            state: core::array::from_fn(|n| fraction(primes[n], 2, 32)),
            rest: Vec::new(),
            length: 0,
        }
    }

    fn block(&mut self, block: &[u8]) {
        let mut w = [0u32; 64];
        for (n, word) in block.chunks_exact(4).enumerate() {
            w[n] = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        }
        for n in 16..64 {
            let a = w[n - 15].rotate_right(7) ^ w[n - 15].rotate_right(18) ^ (w[n - 15] >> 3);
            let b = w[n - 2].rotate_right(17) ^ w[n - 2].rotate_right(19) ^ (w[n - 2] >> 10);
            w[n] = w[n - 16]
                .wrapping_add(a)
                .wrapping_add(w[n - 7])
                .wrapping_add(b);
        }
        let mut s = self.state;
        for (word, constant) in w.iter().zip(&self.constants) {
            let e = s[4].rotate_right(6) ^ s[4].rotate_right(11) ^ s[4].rotate_right(25);
            let choice = (s[4] & s[5]) ^ (!s[4] & s[6]);
            let t1 = s[7]
                .wrapping_add(e)
                .wrapping_add(choice)
                .wrapping_add(*constant)
                .wrapping_add(*word);
            let a = s[0].rotate_right(2) ^ s[0].rotate_right(13) ^ s[0].rotate_right(22);
            let majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
            let t2 = a.wrapping_add(majority);
            s = [
                t1.wrapping_add(t2),
                s[0],
                s[1],
                s[2],
                s[3].wrapping_add(t1),
                s[4],
                s[5],
                s[6],
            ];
        }
        for (sum, value) in self.state.iter_mut().zip(s) {
            *sum = sum.wrapping_add(value);
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(data);
        let whole = all.len() / 64 * 64;
        for block in all[..whole].chunks_exact(64) {
            self.block(block);
        }
        self.rest = all[whole..].to_vec();
    }

    pub fn finish(mut self) -> String {
        let bits = self.length * 8;
        let mut tail = vec![0x80];
        while (self.rest.len() + tail.len()) % 64 != 56 {
            tail.push(0);
        }
        tail.extend_from_slice(&bits.to_be_bytes());
        self.update(&tail);
        self.state
            .iter()
            .map(|word| format!("{word:08x}"))
            .collect()
    }
}
