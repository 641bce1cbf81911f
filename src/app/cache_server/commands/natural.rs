//! Natural numbers of any size: what reading and printing a floating point number exactly takes.

use crate::error::Grow;
use alloc::vec::Vec;

/// A natural number of any size, in limbs of 32 bits, the lowest first, no zeros at the top. `None` from
/// an operation says that memory ran out.
#[derive(Clone, Debug, Default)]
pub(super) struct Natural {
    limbs: Vec<u32>,
}

impl Natural {
    /// 1.
    pub(super) fn one() -> Option<Self> {
        Self::from_u128(1)
    }

    /// That number.
    pub(super) fn from_u128(mut value: u128) -> Option<Self> {
        let mut limbs = Vec::new();
        limbs.try_reserve(4).ok()?;
        while value != 0 {
            limbs.push_reserved(value as u32);
            value >>= 32;
        }
        Some(Self { limbs })
    }

    /// True for 0.
    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    fn bits(&self) -> u32 {
        let top = self.limbs.last().map_or(0, |top| top.leading_zeros());
        self.limbs.len() as u32 * 32 - top
    }

    /// Multiplies in place, and adds.
    pub(super) fn multiply_add(&mut self, factor: u32, addend: u32) -> Option<()> {
        let mut carry = u64::from(addend);
        for limb in &mut self.limbs {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.limbs.try_reserve(1).ok()?;
            self.limbs.push_reserved(carry as u32);
        }
        Some(())
    }

    /// Divides in place and returns the remainder.
    pub(super) fn divide_small(&mut self, divisor: u32) -> u32 {
        let mut rest = 0_u64;
        for limb in self.limbs.iter_mut().rev() {
            rest = rest << 32 | u64::from(*limb);
            *limb = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    /// Multiplies by a power of two.
    pub(super) fn shift_left(&mut self, bits: u32) -> Option<()> {
        let (limbs, bits) = ((bits / 32) as usize, bits % 32);
        self.multiply_add(1 << bits, 0)?;
        if !self.is_zero() {
            self.limbs.try_reserve(limbs).ok()?;
            self.limbs.splice(0..0, core::iter::repeat_n(0, limbs));
        }
        Some(())
    }

    fn is_below(&self, other: &Self) -> bool {
        let lengths = self.limbs.len().cmp(&other.limbs.len());
        lengths
            .then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
            .is_lt()
    }

    /// Takes away a number that is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (number, limb) in self.limbs.iter_mut().enumerate() {
            let taken = other.limbs.get(number).copied().unwrap_or(0);
            let (first, one) = limb.overflowing_sub(taken);
            let (second, two) = first.overflowing_sub(u32::from(borrow));
            *limb = second;
            borrow = one || two;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    /// The quotient's first 66 bits, with bit 0 set if anything follows, and its binary exponent.
    pub(super) fn divide(mut self, mut divisor: Self) -> Option<(u128, i32)> {
        // Bring both to the same length: the quotient is then between one half and two.
        let shift = divisor.bits() as i32 - self.bits() as i32;
        if shift > 0 {
            self.shift_left(shift.unsigned_abs())?;
        } else {
            divisor.shift_left(shift.unsigned_abs())?;
        }
        let mut quotient = 0_u128;
        let mut produced = 0;
        while produced < 67 {
            quotient <<= 1;
            if !self.is_below(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.multiply_add(2, 0)?;
            produced += 1;
        }
        quotient = quotient << 1 | u128::from(!self.is_zero());
        Some((quotient, -shift - produced))
    }
}
