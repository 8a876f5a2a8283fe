//! Direct system calls on a transport's descriptor.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;

/// Sends without waiting as much of `pieces` as the kernel takes, in one call.
///
/// # Errors
/// `WouldBlock` when the kernel takes nothing; anything else means that the peer is gone.
pub(crate) fn send(fd: RawFd, pieces: &[libc::iovec]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    loop {
        let sent = match pieces {
            // SAFETY: the piece is readable memory, borrowed by the caller for the length of the call.
            [piece] => unsafe { libc::send(fd, piece.iov_base, piece.iov_len, FLAGS) },
            _ => {
                // SAFETY: all zeroes is a valid `msghdr`: no name, no control data.
                let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                message.msg_iov = pieces.as_ptr().cast_mut();
                message.msg_iovlen = pieces.len().min(libc::UIO_MAXIOV as usize);
                // SAFETY: `message` points to pieces of readable memory, as above; nothing is written to.
                unsafe { libc::sendmsg(fd, &raw const message, FLAGS) }
            }
        };
        if let Ok(sent) = usize::try_from(sent) {
            return Ok(sent);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether the other end is at none of these addresses.
pub(crate) fn leads_elsewhere(fd: RawFd, addresses: &[String]) -> bool {
    peer_address(fd)
        .is_some_and(|peer| !addresses.iter().any(|address| address.parse() == Ok(peer)))
}

/// The address at the other end, if there is one.
fn peer_address(fd: RawFd) -> Option<IpAddr> {
    // SAFETY: all zeroes is a valid `sockaddr_storage`.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len_bytes = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let start = &raw mut storage;
    // SAFETY: the kernel writes at most `len_bytes` bytes into `storage`.
    if unsafe { libc::getpeername(fd, start.cast(), &raw mut len_bytes) } != 0 {
        return None;
    }
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a `sockaddr_in`, which fits and is aligned.
            let address = unsafe { &*start.cast::<libc::sockaddr_in>() };
            let bits = u32::from_be(address.sin_addr.s_addr);
            Some(Ipv4Addr::from_bits(bits).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, a `sockaddr_in6`.
            let address = unsafe { &*start.cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Idle time after which a target's host is probed, and between two probes.
const PROBE_SECONDS: libc::c_int = 30;

/// Has the kernel find out when a target's host is gone without a word, as after a loss of power.
pub(crate) fn probe_when_idle(fd: RawFd) {
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, PROBE_SECONDS),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, PROBE_SECONDS),
    ] {
        set_option(fd, level, option, &value);
    }
}

/// Makes the close of a connection a reset: what is unsent is dropped, and the peer cannot take the end for a
/// regular one.
pub(crate) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

/// Sets an option where it can be set; the connection works without.
fn set_option<T>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`, and refuses a size that is not the option's.
    unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        );
    }
}

/// Makes an event descriptor readable. Its count cannot overflow: whoever is woken sets it to 0.
pub(crate) fn wake(fd: RawFd) {
    let one = 1_u64;
    // SAFETY: writes the eight bytes of `one`. A failure means that nobody listens any more.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
}
