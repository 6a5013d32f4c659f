import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MailConfig } from "../../../../manager/config.ts";
import { type Event, vmEvent } from "../../../../manager/events/event.ts";
import { Mailer } from "../../../../manager/sinks/mailer.ts";
import { MailSink } from "../../../../manager/sinks/mail-sink.ts";
import { newRateLimits } from "../../../../manager/sinks/rate-limits.ts";
import { MailServerUnderTest, ScriptedMailServer, type SmtpScript } from "../../support/mail.ts";
import { type Certificate, selfSigned } from "../cli/certificates.ts";

const { signal } = new AbortController();
const web1 = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web1" };

let directory: string;
let certificate: Certificate;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "mail-test-"));
  certificate = await selfSigned(directory, "mail", "DNS:localhost");
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

/** Typed, unlike vitest's own. */
function like(pattern: string | RegExp): unknown {
  return expect.stringMatching(pattern);
}

function stopped(position: number, vm = web1): Event {
  const event = vmEvent("VM.STOPPED", vm, Date.now(), { oldState: "Running", newState: "Stopped" });
  return { ...event, id: `0f8e-${position}`, sequence: position, position };
}

function sinkTo(config: MailConfig, to = ["ops@example.com"]): MailSink {
  return new MailSink({ to, mailer: new Mailer(() => config), host: "host1", limit: newRateLimits().mails });
}

async function outcomesAt(config: MailConfig, ...events: Event[]) {
  return (await sinkTo(config).deliver(events, signal)).map(({ outcome }) => outcome);
}

/** What becomes of one event at a server that answers so. */
async function outcomeAt(script: SmtpScript, change: Partial<MailConfig> = {}) {
  await using server = await ScriptedMailServer.start(script, certificate);
  const [outcome] = await outcomesAt({ ...server.config, ...change }, stopped(1));
  return { outcome, commands: server.commands, server: `the mail server 127.0.0.1:${server.config.port}` };
}

describe("at a real mail server", () => {
  it("each event is one mail that people and programs can read", async () => {
    await using server = await MailServerUnderTest.start();
    expect(await outcomesAt(server.config, stopped(1), stopped(2))).toEqual([
      { type: "delivered" },
      { type: "delivered" },
    ]);
    const mails = await server.messages();
    expect(mails.map(({ headers }) => headers.get("x-vmmessage-event-id"))).toEqual(["0f8e-1", "0f8e-2"]);
    const [{ headers, text } = { headers: new Map<string, string>(), text: "" }] = mails;
    expect(Object.fromEntries(headers)).toMatchObject({
      subject: "[vmmessage] VM.STOPPED web1: Running -> Stopped",
      from: "manager@host.example",
      to: "ops@example.com",
      "message-id": "<0f8e-1@host.example>",
      "auto-submitted": "auto-generated",
      "x-mailfrom": "manager@host.example",
      "x-rcptto": "ops@example.com",
    });
    expect(JSON.parse(text.slice(text.indexOf("\n{")))).toMatchObject({ id: "0f8e-1" });
  });

  it("is sent to everybody the sink names, in one mail", async () => {
    await using server = await MailServerUnderTest.start();
    await sinkTo(server.config, ["a@example.com", "b@example.com"]).deliver([stopped(1)], signal);
    const mails = await server.messages();
    expect(mails.map(({ headers }) => headers.get("x-rcptto"))).toEqual(["a@example.com, b@example.com"]);
  });

  it("a VM's name adds no header, no recipient and no second mail", async () => {
    await using server = await MailServerUnderTest.start();
    const name = "web\r\nBcc: evil@example.com\r\nX-Evil: 1\r\n\r\n.\r\nMAIL FROM:<evil@example.com>";
    const [outcome] = await outcomesAt(server.config, stopped(1, { ...web1, name }));
    expect(outcome).toEqual({ type: "delivered" });
    const mails = await server.messages();
    expect(mails).toHaveLength(1);
    expect(mails[0]?.names).not.toContain("bcc");
    expect(mails[0]?.names).not.toContain("x-evil");
    expect(mails[0]?.headers.get("x-rcptto")).toBe("ops@example.com");
    expect(mails[0]?.headers.get("subject")).toContain("webBcc: evil@example.comX-Evil: 1.MAIL FROM");
    const { text = "" } = mails[0] ?? {};
    expect(JSON.parse(text.slice(text.indexOf("\n{\n")))).toMatchObject({ data: { resourceName: name } });
  });

  it("an address that ends its line is refused, and nobody gets anything", async () => {
    await using server = await MailServerUnderTest.start();
    const to = "ops@example.com>\r\nRCPT TO:<evil@example.com";
    const [attempt] = await sinkTo(server.config, [to]).deliver([stopped(1)], signal);
    expect(attempt?.outcome).toMatchObject({ type: "rejected", reason: like("is no mail address") });
    expect(await server.messages()).toEqual([]);
  });

  it("that was away gets what waited, once", async () => {
    await using server = await MailServerUnderTest.start();
    const sink = sinkTo(server.config);
    await server.kill();
    const [attempt] = await sink.deliver([stopped(1)], signal);
    const reason = `the mail server 127.0.0.1:${server.port} refused the connection; does it run?`;
    expect(attempt?.outcome).toEqual({ type: "unavailable", reason });
    expect(sink.connection()).toEqual({ state: "disconnected", reason });
    await server.restart();
    await sink.deliver([stopped(1)], signal);
    expect(sink.connection()).toEqual({ state: "idle" });
    expect(await server.messages()).toHaveLength(1);
  });
});

describe("a server that does not take the mail", () => {
  const refusals: [SmtpScript, string, RegExp][] = [
    [
      { RCPT: "550 5.1.1 no such user" },
      "rejected",
      /refused the recipient ops@example\.com: 550 5\.1\.1 no such user$/,
    ],
    [{ RCPT: "450 4.2.0 grey-listed" }, "failed", /refused the recipient ops@example\.com: 450 4\.2\.0 grey-listed$/],
    [{ "DATA.": "554 looks like spam" }, "rejected", /refused the mail: 554 looks like spam$/],
    [{ "DATA.": "452 mailbox full" }, "failed", /refused the mail: 452 mailbox full$/],
    [{ MAIL: "552 too large" }, "rejected", /refused the mail: 552 too large$/],
    [{ MAIL: "550 who are you" }, "unavailable", /refused the sender manager@host\.example: 550 who are you$/],
    [{ MAIL: "421 too busy" }, "unavailable", /421 too busy$/],
    [{ RCPT: "421 too busy" }, "unavailable", /421 too busy$/],
    [{ CONNECT: "554 no service" }, "unavailable", /ended the session no service$/],
    [{ CONNECT: "close" }, "unavailable", /closed the connection|ended the session/],
    [{ "DATA.": "close" }, "unavailable", /closed the connection|ended the session/],
    [{ CONNECT: "SSH-2.0-OpenSSH" }, "unavailable", /ended the session/],
    [{ RCPT: "550 \u001b]0;pwned\u0007" }, "rejected", /550 \\u001b\]0;pwned\\u0007$/],
  ];

  it.each(refusals)("%j: %s", async (script, type, reason) => {
    const { outcome, server } = await outcomeAt(script);
    expect(outcome).toMatchObject({ type, reason: like(reason) });
    expect(outcome).toMatchObject({ reason: like(server) });
  });

  it("for one of two has it tried again when that may help, else says who did not get it", async () => {
    for (const [answer, type] of [
      ["451 later", "failed"],
      ["550 never", "rejected"],
    ] as const) {
      await using server = await ScriptedMailServer.start({ "RCPT TO:<b@example.com>": answer });
      const mailer = new Mailer(() => server.config);
      const sink = new MailSink({
        to: ["a@example.com", "b@example.com"],
        mailer,
        host: "h",
        limit: newRateLimits().mails,
      });
      const [attempt] = await sink.deliver([stopped(1)], signal);
      expect(attempt?.outcome).toMatchObject({ type, reason: like("b@example.com") });
    }
  });

  it("and takes for ever is given up when the manager stops", async () => {
    await using server = await ScriptedMailServer.start({ EHLO: "" });
    const stopping = new AbortController();
    const delivery = sinkTo(server.config).deliver([stopped(1)], stopping.signal);
    await expect.poll(() => server.commands).toHaveLength(1);
    stopping.abort();
    expect((await delivery)[0]?.outcome).toMatchObject({ type: "unavailable" });
  });
});

describe("TLS", () => {
  const startTls = { EHLO: "250-scripted.example\n250-STARTTLS\n250 AUTH PLAIN", STARTTLS: "220 go on" };

  it("is used when it is offered, whoever signed the certificate", async () => {
    const { outcome, commands } = await outcomeAt(startTls);
    expect(outcome).toEqual({ type: "delivered" });
    expect(commands.filter((line) => /^(STARTTLS|EHLO)/.test(line))).toHaveLength(3);
  });

  it("is done without when it is opportunistic and the server changes its mind", async () => {
    const { outcome } = await outcomeAt({ ...startTls, STARTTLS: "454 not now" });
    expect(outcome).toEqual({ type: "delivered" });
  });

  it("that is required and not offered sends nothing", async () => {
    const { outcome, commands, server } = await outcomeAt({}, { tls: "required" });
    const reason = `${server} does not offer STARTTLS, which events.mail.tls requires`;
    expect(outcome).toEqual({ type: "unavailable", reason });
    expect(commands.join()).not.toContain("MAIL");
  });

  it("that is required needs a certificate that is trusted, and for this name", async () => {
    const untrusted = await outcomeAt(startTls, { tls: "required", host: "localhost" });
    expect(untrusted.outcome).toMatchObject({ type: "unavailable", reason: like("self-signed") });
    expect(untrusted.commands.join()).not.toContain("MAIL");
    const trusted = await outcomeAt(startTls, { tls: "required", host: "localhost", ca: certificate.certPath });
    expect(trusted.outcome).toEqual({ type: "delivered" });
  });

  it("that is implicit says so when the server greets without", async () => {
    const { outcome } = await outcomeAt({}, { tls: "implicit" });
    expect(outcome).toMatchObject({ type: "unavailable", reason: like("events.mail.tls") });
  });

  it("is there before any password is sent, which is read anew for each mail", async () => {
    const passwordFile = join(directory, "password");
    const login = { ...startTls, AUTH: "235 welcome" };
    const account = { user: "manager", passwordFile, host: "localhost", ca: certificate.certPath } as const;
    await writeFile(passwordFile, "first\n");
    const plain = await outcomeAt({ EHLO: "250-scripted.example\n250 AUTH PLAIN", AUTH: "235 welcome" }, account);
    expect(plain.outcome).toMatchObject({ reason: like("without which no password is sent") });
    expect(plain.commands.join()).not.toContain("AUTH");
    for (const password of ["first", "second"]) {
      await writeFile(passwordFile, `${password}\n`);
      const { outcome, commands } = await outcomeAt(login, account);
      expect(outcome).toEqual({ type: "delivered" });
      expect(commands).toContain(`AUTH PLAIN ${Buffer.from(`\0manager\0${password}`).toString("base64")}`);
    }
  });

  it("a password that is refused is not in what is said of it", async () => {
    const passwordFile = join(directory, "password");
    await writeFile(passwordFile, "tres-secret");
    const account = { user: "manager", passwordFile, host: "localhost", ca: certificate.certPath } as const;
    const { outcome } = await outcomeAt({ ...startTls, AUTH: "535 'tres-secret' is wrong" }, account);
    expect(outcome).toMatchObject({
      type: "unavailable",
      reason: like(/does not accept the user 'manager' with its password \(535\); look at events\.mail/),
    });
    expect(JSON.stringify(outcome)).not.toContain("tres-secret");
  });
});
