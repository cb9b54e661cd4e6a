//! What systemd is told, over a real datagram socket.
