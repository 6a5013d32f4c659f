/** Sends mail through the server that the configuration names (RFC 5321), and says in words why one was not taken. */
import { readFile } from "node:fs/promises";
import { createTransport, type Transporter } from "nodemailer";
import { systemCode } from "../../shared/cli/failure.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { MailConfig } from "../config.ts";

/** A mail server in the same network answers in milliseconds; one that checks names may take seconds. Not measured. */
const CONNECT_TIMEOUT_MS = 10_000;
const GREETING_TIMEOUT_MS = 10_000;

/** Without a byte from the server. One that checks a mail's content takes its time before it answers. */
const SOCKET_TIMEOUT_MS = 30_000;

/** RFC 5321, section 4.5.3.1.3, without the angle brackets. */
const MAX_ADDRESS_LENGTH = 254;

/** The addresses of RFC 5321's `Dot-string@Domain` in ASCII, as browsers check them (HTML, section "Email state"). */
const ADDRESS =
  /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** The part of a Message-ID before the `@` (RFC 5322, `dot-atom-text` without what nobody needs). */
const MESSAGE_ID = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;

/** Enough for a subject that people read, in characters. */
const MAX_HEADER_LENGTH = 200;

/** What a server may say of its reason. */
const MAX_SAID_LENGTH = 300;

/** Controls, and what reorders, hides or ends text: nothing of these belongs in a header. */
const NOT_FOR_HEADERS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** "Requested mail action aborted: exceeded storage allocation": it is the size of this mail. */
const TOO_LARGE = 552;

/**
 * Who has to act. `unreachable`: nothing can be sent to anybody now (no connection, no TLS, no login, our own address
 * refused). `deferred`: this mail was not taken and may be later (4xx). `refused`: it never will be (5xx).
 */
export type MailProblem = "unreachable" | "deferred" | "refused";

export class MailError extends Error {
  override readonly name = "MailError";
  readonly problem: MailProblem;
  /** What the server answered (RFC 5321, section 4.2). */
  readonly status: number | undefined;

  constructor(problem: MailProblem, message: string, status?: number, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
    this.status = status;
  }
}

export interface Mail {
  to: readonly string[];
  subject: string;
  text: string;
  headers?: Readonly<Record<string, string>>;
  /** The part of the Message-ID before the `@`: the same for every attempt, so that a duplicate is known as one. */
  messageId?: string;
  signal?: AbortSignal;
}

/** Whether mail can be sent to it. */
export function isMailAddress(text: string): boolean {
  return text.length <= MAX_ADDRESS_LENGTH && ADDRESS.test(text);
}

/** What of a text may stand in a header, cut so that people read it. */
export function headerText(text: string): string {
  const characters = Array.from(text.replace(NOT_FOR_HEADERS, ""));
  const isLong = characters.length > MAX_HEADER_LENGTH;
  return isLong ? `${characters.slice(0, MAX_HEADER_LENGTH - 3).join("")}...` : characters.join("");
}

/** One connection for each mail: they are few, and what the configuration or the password file says now is what counts. */
export class Mailer {
  readonly #config: () => MailConfig | undefined;

  /** @param config as it is now */
  constructor(config: () => MailConfig | undefined) {
    this.#config = config;
  }

  get isConfigured(): boolean {
    return this.#config() !== undefined;
  }

  /**
   * Settles when the server has taken the mail for everybody it is to. Rejects with MailError; when only some of several
   * were refused, the others have it, and get it again should it be sent again.
   */
  async send({ to, subject, text, headers = {}, messageId, signal }: Mail): Promise<void> {
    for (const address of to) assertAddress(address);
    const config = this.#assertConfigured();
    const transport = await openTransport(config);
    const sending = {
      // Made from these alone: nothing in a header can add to whom it goes.
      envelope: { from: config.from, to: [...to] },
      from: { name: "", address: config.from },
      to: to.map((address) => ({ name: "", address })),
      subject: headerText(subject),
      text,
      headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, headerText(value)])),
      ...(messageId !== undefined && { messageId: messageIdAt(messageId, config.from) }),
      ...(signal !== undefined && { signal }),
      disableFileAccess: true,
      disableUrlAccess: true,
    };
    try {
      const { rejectedErrors = [] } = (await transport.sendMail(sending)) as { rejectedErrors?: SmtpError[] };
      // One that may be taken later comes first: it is worth another attempt.
      const [worst] = rejectedErrors.toSorted((a, b) => (a.responseCode ?? 0) - (b.responseCode ?? 0));
      if (worst !== undefined) throw worst;
    } catch (error) {
      throw mailError(error as SmtpError, config);
    } finally {
      transport.close();
    }
  }

  /** Settles when the server would take mail: connected, TLS as it should be, logged in. Rejects with MailError. */
  async check(): Promise<void> {
    const config = this.#assertConfigured();
    const transport = await openTransport(config);
    try {
      await transport.verify();
    } catch (error) {
      throw mailError(error as SmtpError, config);
    } finally {
      transport.close();
    }
  }

  #assertConfigured(): MailConfig {
    const config = this.#config();
    if (config !== undefined) return config;
    throw new MailError("unreachable", "there is no mail server; name it in events.mail");
  }
}

/** What nodemailer rejects with. */
interface SmtpError extends Error {
  code?: string;
  command?: string;
  response?: string;
  responseCode?: number;
  permanent?: boolean;
  recipient?: string;
  rejectedErrors?: SmtpError[];
  originalCode?: string;
  timeoutType?: string;
}

async function openTransport(config: MailConfig): Promise<Transporter> {
  const { host, port, user, tls, ca } = config;
  // A password goes to nobody but the server, so it needs TLS with a certificate that is checked.
  const isTlsNeeded = tls !== "opportunistic" || user !== undefined;
  const authority = ca === undefined ? undefined : await readNamed("ca", ca);
  return createTransport({
    host,
    port,
    secure: tls === "implicit",
    requireTLS: isTlsNeeded && tls !== "implicit",
    opportunisticTLS: !isTlsNeeded,
    // Opportunistic TLS without a known authority keeps out who only listens (RFC 7435); refusing it would mean no TLS.
    tls: { rejectUnauthorized: isTlsNeeded || ca !== undefined, ...(authority !== undefined && { ca: authority }) },
    ...(user !== undefined && { auth: { user, pass: await readPassword(config) }, forceAuth: true }),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    dnsTimeout: CONNECT_TIMEOUT_MS,
    greetingTimeout: GREETING_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    // A host may have no other interface, and its mail server listens on this one.
    allowInternalNetworkInterfaces: true,
  });
}

async function readPassword({ user = "", passwordFile }: MailConfig): Promise<string> {
  if (passwordFile === undefined) {
    throw new MailError("unreachable", `events.mail has the user '${user}' and no passwordFile`);
  }
  return (await readNamed("passwordFile", passwordFile)).replace(/\r?\n$/, "");
}

async function readNamed(member: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const code = systemCode(error) ?? "unreadable";
    throw new MailError("unreachable", `cannot read ${path} (${code}), which events.mail.${member} names`);
  }
}

function assertAddress(address: string): void {
  if (isMailAddress(address)) return;
  throw new MailError("refused", `'${printable(address.slice(0, MAX_ADDRESS_LENGTH))}' is no mail address`);
}

function messageIdAt(id: string, from: string): string {
  if (!MESSAGE_ID.test(id)) throw new Error(`'${id}' cannot stand in a Message-ID`);
  return `<${id}@${from.slice(from.lastIndexOf("@") + 1)}>`;
}

/** The reason is kept in words alone: what a server says to a login could hold the password. */
function mailError(error: SmtpError, config: MailConfig): MailError {
  const server = `the mail server ${config.host}:${config.port}`;
  const status = error.responseCode;
  const said = `${status ?? ""}${saidBy(error)}`;
  switch (error.command) {
    case "RCPT TO": {
      const { recipient = error.rejectedErrors?.[0]?.recipient } = error;
      return new MailError(problemOf(error), `${server} refused the recipient ${recipient ?? ""}: ${said}`, status);
    }
    case "MAIL FROM":
      if (status === TOO_LARGE) return new MailError("refused", `${server} refused the mail: ${said}`, status);
      return new MailError("unreachable", `${server} refused the sender ${config.from}: ${said}`, status);
    case "DATA":
      return new MailError(problemOf(error), `${server} refused the mail: ${said}`, status);
    default:
      return new MailError("unreachable", `${server} ${connectionProblem(error, config)}`, status);
  }
}

/** 421 ends the session, whatever it was an answer to (RFC 5321, section 3.8). */
function problemOf({ permanent, responseCode }: SmtpError): MailProblem {
  if (responseCode === 421) return "unreachable";
  return permanent === true ? "refused" : "deferred";
}

function connectionProblem(error: SmtpError, { user = "", tls }: MailConfig): string {
  switch (error.code) {
    case "EAUTH":
      return `does not accept the user '${user}' with its password (${error.responseCode ?? "no login offered"}); look at events.mail.passwordFile`;
    case "ETLS":
      if (error.responseCode === undefined) return tlsProblem(error);
      return user === "" || tls === "required"
        ? "does not offer STARTTLS, which events.mail.tls requires"
        : "does not offer STARTTLS, without which no password is sent";
    case "EDNS":
      return "has a name that is not known; look at events.mail.host";
    case "ETIMEDOUT":
      return error.timeoutType === "GREETING_TIMEOUT"
        ? `did not greet within ${GREETING_TIMEOUT_MS / 1_000} s; is its TLS implicit?`
        : "did not answer in time";
    case "ESOCKET":
      return socketProblem(error);
    case "EABORT":
      return "was not waited for";
    default:
      return `ended the session${saidBy(error)}`;
  }
}

function socketProblem(error: SmtpError): string {
  switch (error.originalCode) {
    case "ECONNREFUSED":
      return "refused the connection; does it run?";
    case "ECONNRESET":
    case "EPIPE":
      return "closed the connection";
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return `cannot be reached (${error.originalCode})`;
    default:
      return tlsProblem(error);
  }
}

function tlsProblem({ message }: SmtpError): string {
  const reason = printable(message.slice(0, MAX_SAID_LENGTH));
  return `cannot be spoken to with TLS: ${reason}; look at events.mail.tls and events.mail.ca`;
}

/** The server's own words, without its number. */
function saidBy({ response = "" }: SmtpError): string {
  const words = response.replace(/^\d{3}[ -]?/, "").slice(0, MAX_SAID_LENGTH);
  return words === "" ? "" : ` ${printable(words)}`;
}
