//! Helpers that the suite shares.
