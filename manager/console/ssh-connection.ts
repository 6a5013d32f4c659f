/** One client of the console: its login, its sessions, and what it may cost. */
import { type EventEmitter, once } from "node:events";
import type { Socket } from "node:net";
import ssh2, { type AuthContext, type Connection, type ServerChannel, type Session as ChannelRequests } from "ssh2";
import { aborted, pause } from "../../shared/abort.ts";
import { exitCodes } from "../../shared/protocol/errors.ts";
import type { Authenticator } from "../access/authenticator.ts";
import type { Principal } from "../access/principal.ts";
import type { Log } from "../../shared/log.ts";
import type { Service } from "../service/service.ts";
import { Interpreter } from "./interpreter.ts";
import { runLines, runOne, runTerminal } from "./shell.ts";
import { Login } from "./ssh-login.ts";
import { SshSession, type Transport } from "./ssh-session.ts";
import { TerminalWindow } from "./terminal-output.ts";

/** RFC 4253, section 4.2: a client's first line has at most 255 bytes; its first key exchange may come with it. */
const MAX_BYTES_BEFORE_IDENTIFICATION = 4096;

/** Sessions of one connection at a time: a terminal or two, and a script that shares the connection. */
const MAX_SESSIONS = 4;

/** ssh2's window of 2 MiB and some: who sends more than it was allowed to has no use for a console. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;

/** RFC 4253, section 6.1 has clients take 32,768 bytes; one that takes less costs a packet for a few bytes, or for none. */
const MIN_PACKET_BYTES = 1024;

/** The client is asked whether it is there, and dropped after this many questions without an answer. */
const KEEP_ALIVE_INTERVAL_MS = 15_000;
const MAX_MISSED_KEEP_ALIVES = 3;

/** For a client to take the last bytes and to close. */
const CLOSE_GRACE_MS = 2_000;

/**
 * Without finite-field groups, whose arithmetic holds up everything else for a good part of a second, without SHA-1, and
 * without ChaCha20, which ssh2 does in JavaScript. All that clients of the last ten years know.
 */
const ALGORITHMS = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
  ],
  cipher: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"],
  // a few bytes could be made into many
  compress: ["none"],
} satisfies ssh2.Algorithms;

export interface ConnectionOptions {
  service: Service;
  authenticator: Authenticator;
  log: Log;
  hostPrivateKey: string;
  /** The client's address. */
  address: string;
  /** To have logged in by then. */
  loginGraceMs: number;
  /** Without input for so long, the connection ends. */
  idleMs: number;
}

export class SshConnection implements Transport {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #login: Login;
  /** Those that ended too, until the client closes their channels: it can still send to them. */
  readonly #sessions = new Set<SshSession>();
  readonly #closed = new AbortController();
  readonly #loginTimer: NodeJS.Timeout;
  #idleTimer: NodeJS.Timeout | undefined;
  #client: Connection | undefined;
  #who: Principal | undefined;
  #closing: Promise<void> | undefined;
  #openChannels = 0;
  /** What sessions wrote. */
  #writtenBytes = 0;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#login = new Login(options.authenticator, `ssh:${options.address}`);
    this.#loginTimer = setTimeout(() => {
      this.#drop();
    }, options.loginGraceMs);
    socket.on("error", () => {
      this.#drop();
    });
    socket.on("close", () => {
      this.#lose();
    });
    this.#speakSsh();
  }

  noteInput(): void {
    this.#idleTimer?.refresh();
  }

  async sent(bytes: number, gone: AbortSignal): Promise<void> {
    this.#writtenBytes += bytes;
    // While keys are exchanged anew, ssh2 keeps what is written.
    while (this.#client !== undefined && this.#socket.bytesWritten < this.#writtenBytes && !gone.aborted) {
      await happened(this.#client, "rekey", gone);
    }
    if (this.#socket.writableNeedDrain) await happened(this.#socket, "drain", gone);
  }

  /** Dismisses the sessions; settles when the connection is closed, within two {@link CLOSE_GRACE_MS}. */
  close(reason: string): Promise<void> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  async #close(reason: string): Promise<void> {
    const running = [...this.#sessions].filter(({ gone }) => !gone.aborted);
    for (const session of running) session.dismiss(reason);
    // A client leaves by itself, with the exit status, when its last session ends.
    if (running.length > 0) await this.#closedWithin(CLOSE_GRACE_MS);
    this.#hangUp();
    await aborted(this.#closed.signal);
  }

  #speakSsh(): void {
    const { hostPrivateKey } = this.#options;
    const server = new ssh2.Server(
      {
        hostKeys: [hostPrivateKey],
        algorithms: ALGORITHMS,
        ident: "vmmessaged",
        keepaliveInterval: KEEP_ALIVE_INTERVAL_MS,
        keepaliveCountMax: MAX_MISSED_KEEP_ALIVES,
      },
      (client) => {
        this.#serve(client);
      },
    );
    server.injectSocket(this.#socket);
    this.#socket.on("data", (chunk) => {
      this.#guard(chunk);
    });
  }

  /** Looks at what comes before ssh2 does, which has no such bounds. */
  #guard(chunk: Buffer): void {
    const received = this.#socket.bytesRead - chunk.length;
    if (this.#client === undefined && received > MAX_BYTES_BEFORE_IDENTIFICATION) this.#drop();
    if ([...this.#sessions].some(({ unreadBytes }) => unreadBytes > MAX_UNREAD_BYTES)) this.#drop();
    if (!this.#socket.writableNeedDrain) return;
    this.#socket.pause();
    this.#socket.once("drain", () => this.#socket.resume());
  }

  #serve(client: Connection): void {
    this.#client = client;
    client.on("error", () => {
      this.#hangUp();
    });
    client.on("end", () => {
      this.#hangUp();
    });
    client.on("authentication", (context) => {
      void this.#authenticate(context);
    });
    client.on("session", (accept: () => ChannelRequests, reject) => {
      if (this.#who === undefined || this.#openChannels >= MAX_SESSIONS) reject();
      else this.#openSession(accept(), this.#who);
    });
  }

  async #authenticate(context: AuthContext): Promise<void> {
    try {
      const decision = await this.#login.decide(context);
      if (this.#closed.signal.aborted || this.#who !== undefined) return;
      switch (decision.type) {
        case "accepted":
          this.#admit(decision.who);
          context.accept();
          return;
        case "offer-taken":
          context.accept();
          return;
        case "refused":
          context.reject(["publickey", "password"]);
          return;
        case "over":
          this.#hangUp();
          return;
      }
    } catch (error) {
      this.#options.log.error("console.login-failed", { address: this.#options.address, error });
      this.#hangUp();
    }
  }

  #admit(who: Principal): void {
    this.#who = who;
    clearTimeout(this.#loginTimer);
    this.#idleTimer = setTimeout(() => {
      void this.close("ended: nothing was typed for too long");
    }, this.#options.idleMs);
  }

  /** ssh2's type says that every request can be answered; those that want no answer come without `accept`. */
  #openSession(requests: ChannelRequests, who: Principal): void {
    this.#openChannels += 1;
    let window: TerminalWindow | undefined;
    let session: SshSession | undefined;
    const start = (channel: ServerChannel | undefined, run: (session: SshSession) => Promise<number>): void => {
      // a second command on the same channel
      if (channel === undefined) return;
      session = this.#startSession(channel, { hasTerminal: window !== undefined }, run);
    };
    const { service, log } = this.#options;
    const interpreter = new Interpreter({ service, who, log });
    requests.on("pty", (accept: (() => void) | undefined, _, { cols }) => {
      window = new TerminalWindow(cols);
      accept?.();
    });
    requests.on("window-change", (accept: (() => void) | undefined, _, { cols }) => {
      window?.resize(cols);
      accept?.();
    });
    requests.on("shell", (accept: () => ServerChannel | undefined) => {
      start(accept(), (opened) => {
        return window === undefined ? runLines(opened, interpreter) : runTerminal(opened, window, interpreter);
      });
    });
    requests.on("exec", (accept: () => ServerChannel | undefined, _, { command }) => {
      start(accept(), (opened) => runOne(command, opened, interpreter));
    });
    requests.on("close", () => {
      // A channel that nothing ran on stays in ssh2's table for good, and so it counts for good.
      if (session === undefined) return;
      this.#openChannels -= 1;
      this.#sessions.delete(session);
      session.lose();
    });
  }

  #startSession(
    channel: ServerChannel,
    options: { hasTerminal: boolean },
    run: (session: SshSession) => Promise<number>,
  ): SshSession {
    const session = new SshSession(channel, this, options);
    this.#sessions.add(session);
    if (packetBytesOf(channel) < MIN_PACKET_BYTES) this.#drop();
    else void this.#runSession(session, run);
    return session;
  }

  async #runSession(session: SshSession, run: (session: SshSession) => Promise<number>): Promise<void> {
    try {
      const exitCode = await run(session);
      session.end(session.gone.aborted ? exitCodes.unreachable : exitCode);
    } catch (error) {
      this.#options.log.error("console.session-failed", { address: this.#options.address, error });
      this.#hangUp();
    } finally {
      session.lose();
    }
  }

  /** Lets the client take the last bytes, for a while. */
  #hangUp(): void {
    if (this.#client === undefined) {
      this.#drop();
      return;
    }
    this.#client.end();
    void this.#closedWithin(CLOSE_GRACE_MS).then(() => {
      this.#drop();
    });
  }

  async #closedWithin(ms: number): Promise<void> {
    await pause(ms, this.#closed.signal);
  }

  #drop(): void {
    this.#socket.destroy();
  }

  #lose(): void {
    clearTimeout(this.#loginTimer);
    clearTimeout(this.#idleTimer);
    for (const session of this.#sessions) session.lose();
    this.#closed.abort();
  }
}

/** Settles at the event, at an error, and when the signal is aborted. */
async function happened(emitter: EventEmitter, event: string, gone: AbortSignal): Promise<void> {
  await once(emitter, event, { signal: gone }).catch(() => undefined);
}

/** Not in ssh2's types: the largest packet that the client says it takes, which ssh2 believes. */
function packetBytesOf(channel: ServerChannel): number {
  const { outgoing } = channel as ServerChannel & { outgoing: { packetSize: number } };
  return outgoing.packetSize;
}
