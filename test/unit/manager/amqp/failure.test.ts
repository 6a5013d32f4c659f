import { describe, expect, it } from "vitest";
import { amqpReason } from "../../../../manager/amqp/failure.ts";

const broker = { tls: false, host: "mq", port: 5672, vhost: "/", user: "cloud", password: "hunter2" };

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

describe("why a broker is not there", () => {
  it.each([
    [systemError("ECONNREFUSED", ""), "mq:5672 refused the connection; is the broker running?"],
    [systemError("ENOTFOUND", "getaddrinfo ENOTFOUND mq"), "mq has no address that we can find (ENOTFOUND)"],
    [systemError("ECONNRESET", "read ECONNRESET"), "mq:5672 closed the connection (ECONNRESET)"],
    [
      systemError("DEPTH_ZERO_SELF_SIGNED_CERT", "self-signed certificate"),
      "TLS with mq:5672 failed: self-signed certificate (DEPTH_ZERO_SELF_SIGNED_CERT)",
    ],
    [
      systemError("ERR_TLS_CERT_ALTNAME_INVALID", "Hostname/IP does not match certificate's altnames: IP: 10.0.0.1"),
      "TLS with mq:5672 failed: Hostname/IP does not match certificate's altnames (ERR_TLS_CERT_ALTNAME_INVALID)",
    ],
    [
      systemError("ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "40ED:error:0A000418:SSL routines"),
      "TLS with mq:5672 failed: ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
    ],
    [systemError("EPROTO", "write EPROTO"), "mq:5672 does not speak TLS there; is it the port for amqps?"],
    [new Error("Heartbeat timeout"), "mq:5672 has been silent for too long"],
    [new Error('Channel closed by server: 404 (NOT-FOUND) with message "no exchange"'), "mq:5672 says: no exchange"],
  ])("%s is told in words", (error, words) => {
    expect(amqpReason(error, broker)).toBe(words);
  });

  it("is told without the password, even when the broker says it", () => {
    const said = 'Connection closed: 541 (INTERNAL-ERROR) with message "is hunter2 not your password?"';
    expect(amqpReason(new Error(said), broker)).toBe("mq:5672 says: is ***** not your password?");
  });

  it("is no flood, and nothing that a terminal would obey", () => {
    const reason = amqpReason(new Error(`with message "\u001b[2J${"x".repeat(10_000)}"`), broker);
    expect(reason).toMatch(/^mq:5672 says: \\u001b\[2Jx{300,}$/);
    expect(reason.length).toBeLessThan(500);
  });
});
