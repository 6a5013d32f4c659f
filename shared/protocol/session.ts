/**
 * The session, sans-IO: bytes in, events and bytes out. The opener (a host, or a program in the guest) greets; the guest
 * accepts. A hello always starts anew, whatever the guest believes, because one host can follow another on a virtio port
 * with no end of file between them.
 *
 * Ids are `LETTER NONCE . NUMBER`: the letter of the side that asks (`h` host, `l` local, `g` guest) and the nonce of the
 * session, so that what belongs to an earlier session matches nothing, and what a side said itself (a terminal that
 * echoes) is known by its letter.
 */
import { LocalProtocolError, RemoteProtocolError, RequestError, type RpcError, unreachable } from "./errors.ts";
import { type Damage, encodeFrame, FrameDecoder } from "./frame.ts";
import {
  describeIssues,
  type HelloParams,
  type HelloResult,
  isMethod,
  isNotification,
  type Message,
  type Method,
  type NotificationMethod,
  type NotificationParams,
  notifications,
  type Params,
  parseMessage,
  PROTOCOL_VERSIONS,
  requests,
  type Result,
} from "./message.ts";

export type OpenerRole = HelloParams["role"];

/** Makes the 16 hexadecimal digits of a nonce; a parameter so that tests can choose them. */
export type MakeNonce = () => string;

/** A sound request, to be answered with {@link Session.result} or {@link Session.error}. */
export type Request = { [M in Method]: { id: string; method: M; params: Params<M> } }[Method];
export type Notification = {
  [M in NotificationMethod]: { method: M; params: NotificationParams<M> };
}[NotificationMethod];

export type SessionEvent =
  /** Bytes to write now: the protocol's own answers. */
  | { type: "send"; bytes: Buffer }
  /** The hello was answered (opener) or accepted (guest). */
  | { type: "opened"; hello: HelloParams | HelloResult }
  /** Opener only: the agent started and knows nothing of this session; greet again. */
  | { type: "peer-restarted" }
  | { type: "request"; request: Request }
  | { type: "result"; id: string; result: unknown }
  | { type: "refused"; id: string; error: RequestError }
  | { type: "notification"; notification: Notification }
  /** Bytes that were no sound frame; once per burst. */
  | { type: "damaged"; damage: Damage }
  /** The peer said something the protocol does not allow. It was dropped. */
  | { type: "violation"; error: RemoteProtocolError };

interface HelloIdentity {
  software: string;
}

const LETTERS = { host: "h", local: "l", guest: "g" } as const;

/** What both ends share: framing, ids, and the sorting of what arrives. */
abstract class Session {
  readonly #decoder = new FrameDecoder();
  readonly #pending = new Map<string, Method>();
  #lastRequest = 0;
  protected nonce: string | undefined;
  protected abstract readonly letter: string;

  get damagedFrames(): number {
    return this.#decoder.damagedFrames;
  }

  get bufferSize(): number {
    return this.#decoder.bufferSize;
  }

  /** The nonce of the open session, or undefined before one is open. */
  get session(): string | undefined {
    return this.nonce;
  }

  receive(chunk: Uint8Array): SessionEvent[] {
    const events: SessionEvent[] = [];
    for (const event of this.#decoder.push(chunk)) {
      if (event.type === "damaged") events.push(event);
      else this.#sort(parseMessage(event.text), events);
    }
    return events;
  }

  /** A request to the peer. Throws LocalProtocolError when no session is open or the parameters break the schema. */
  request<M extends Exclude<Method, "hello">>(method: M, params: Params<M>): { id: string; bytes: Buffer } {
    if (this.nonce === undefined) throw new LocalProtocolError(`${method}: no session is open`);
    const checked = requests[method].params.safeParse(params);
    if (!checked.success) throw new LocalProtocolError(`${method}: ${describeIssues(checked.error)}`);
    return this.ask(method, params, this.nonce);
  }

  /** Gives up waiting for an answer; a late one is dropped. */
  forget(id: string): void {
    this.#pending.delete(id);
  }

  result<M extends Method>(request: { id: string; method: M }, result: Result<M>): Buffer {
    return encodeFrame({ jsonrpc: "2.0", id: request.id, result });
  }

  error(request: { id: string }, error: RequestError): Buffer {
    return encodeFrame({ jsonrpc: "2.0", id: request.id, error: error.toRpc() });
  }

  protected ask(method: Method, params: unknown, nonce: string): { id: string; bytes: Buffer } {
    this.#lastRequest += 1;
    const id = `${this.letter}${nonce}.${this.#lastRequest}`;
    const bytes = encodeFrame({ jsonrpc: "2.0", id, method, params });
    this.#pending.set(id, method);
    return { id, bytes };
  }

  /** A new session: what was asked in the old one will not be answered. */
  protected restart(nonce: string | undefined): void {
    this.nonce = nonce;
    this.#pending.clear();
    this.#lastRequest = 0;
  }

  protected abstract acceptRequest(request: Request, events: SessionEvent[]): void;
  protected abstract acceptResult(id: string, method: Method, result: unknown, events: SessionEvent[]): void;
  protected abstract acceptNotification(notification: Notification, events: SessionEvent[]): void;
  /** Whether a request with this id was written by the peer and not by us. */
  protected abstract isPeersRequest(id: string): boolean;

  #sort(message: Message, events: SessionEvent[]): void {
    switch (message.type) {
      case "request":
        this.#sortRequest(message, events);
        return;
      case "notification":
        this.#sortNotification(message, events);
        return;
      case "result":
        this.#sortResult(message, events);
        return;
      case "error":
        this.#sortError(message, events);
        return;
      case "invalid":
        this.#refuse(message.id, new RequestError(message.problem, "not a JSON-RPC 2.0 request"), events);
        return;
      case "invalid-response":
        events.push(violation("not a JSON-RPC 2.0 response"));
        return;
      default:
        unreachable(message);
    }
  }

  #sortRequest({ id, method, params }: { id: string; method: string; params: unknown }, events: SessionEvent[]): void {
    if (id.startsWith(this.letter)) return;
    if (!this.isPeersRequest(id)) {
      this.#refuse(id, new RequestError("invalid-request", "the id does not have this protocol's form"), events);
      return;
    }
    if (!isMethod(method)) {
      this.#refuse(id, new RequestError("unknown-method", `there is no method '${method.slice(0, 64)}'`), events);
      return;
    }
    const checked = requests[method].params.safeParse(params ?? {});
    if (!checked.success) {
      this.#refuse(id, new RequestError("invalid-params", `${method}: ${describeIssues(checked.error)}`), events);
      return;
    }
    this.acceptRequest({ id, method, params: checked.data } as Request, events);
  }

  #sortNotification({ method, params }: { method: string; params: unknown }, events: SessionEvent[]): void {
    if (!isNotification(method)) {
      events.push(violation(`there is no notification '${method.slice(0, 64)}'`));
      return;
    }
    const checked = notifications[method].safeParse(params);
    if (!checked.success) {
      events.push(violation(`${method}: ${describeIssues(checked.error)}`));
      return;
    }
    this.acceptNotification({ method, params: checked.data } as Notification, events);
  }

  #sortResult({ id, result }: { id: string; result: unknown }, events: SessionEvent[]): void {
    const method = this.#pending.get(id);
    if (method === undefined) return;
    this.#pending.delete(id);
    const checked = requests[method].result.safeParse(result);
    if (checked.success) {
      this.acceptResult(id, method, checked.data, events);
      return;
    }
    const problem = `the answer to ${method} is not one: ${describeIssues(checked.error)}`;
    events.push(violation(problem), { type: "refused", id, error: new RequestError("internal", problem) });
  }

  #sortError({ id, error }: { id: string | null; error: RpcError }, events: SessionEvent[]): void {
    if (id === null || !this.#pending.delete(id)) return;
    events.push({ type: "refused", id, error: RequestError.fromRpc(error) });
  }

  #refuse(id: string | null, error: RequestError, events: SessionEvent[]): void {
    events.push(violation(error.message), { type: "send", bytes: refusal(id, error) });
  }
}

function refusal(id: string | null, error: RequestError): Buffer {
  return encodeFrame({ jsonrpc: "2.0", id, error: error.toRpc() });
}

function violation(problem: string): SessionEvent {
  return { type: "violation", error: new RemoteProtocolError(problem) };
}

/** The side that greets: a host on a VM's channel, or a program in the guest on its agent's socket. */
export class OpenerSession extends Session {
  protected readonly letter: string;
  readonly #role: OpenerRole;
  readonly #software: string;
  readonly #makeNonce: MakeNonce;
  #agentNonce: string | undefined;

  constructor({ role, software, makeNonce }: { role: OpenerRole; makeNonce: MakeNonce } & HelloIdentity) {
    super();
    this.letter = LETTERS[role];
    this.#role = role;
    this.#software = software;
    this.#makeNonce = makeNonce;
  }

  /** Starts a session, ending the one before. Requests may follow in the same write on a local socket only. */
  hello(options: Partial<Pick<HelloParams, "accepts" | "acknowledgeOf" | "newEpoch">> = {}): {
    id: string;
    bytes: Buffer;
  } {
    const nonce = this.#makeNonce();
    this.#agentNonce = undefined;
    this.restart(nonce);
    const params: HelloParams = {
      role: this.#role,
      nonce,
      versions: [...PROTOCOL_VERSIONS],
      software: this.#software,
      ...options,
    };
    return this.ask("hello", params, nonce);
  }

  protected isPeersRequest(id: string): boolean {
    return id.startsWith(LETTERS.guest);
  }

  protected acceptRequest(request: Request, events: SessionEvent[]): void {
    if (this.nonce === undefined || !request.id.startsWith(`${LETTERS.guest}${this.nonce}.`)) return;
    if (request.method === "event" || request.method === "acknowledge" || request.method === "report") {
      events.push({ type: "request", request });
      return;
    }
    const error = new RequestError("unknown-method", `'${request.method}' is not for a ${this.#role}`);
    events.push(violation(error.message), { type: "send", bytes: refusal(request.id, error) });
  }

  protected acceptResult(id: string, method: Method, result: unknown, events: SessionEvent[]): void {
    if (method === "hello" && !this.#acceptHello(id, result as HelloResult, events)) return;
    events.push({ type: "result", id, result });
  }

  #acceptHello(id: string, hello: HelloResult, events: SessionEvent[]): boolean {
    if (!PROTOCOL_VERSIONS.includes(hello.version)) {
      const problem = `the agent chose protocol version ${hello.version}, which was not offered`;
      events.push(violation(problem), { type: "refused", id, error: new RequestError("no-common-version", problem) });
      return false;
    }
    this.#agentNonce = hello.nonce;
    events.push({ type: "opened", hello });
    return true;
  }

  protected acceptNotification(notification: Notification, events: SessionEvent[]): void {
    if (notification.method === "ready") {
      if (notification.params.nonce !== this.#agentNonce) events.push({ type: "peer-restarted" });
      return;
    }
    if (notification.params.session === this.nonce) events.push({ type: "notification", notification });
  }
}

/** What a guest answers a hello with, but for what the session knows itself. */
export type HelloFacts = Omit<HelloResult, "role" | "nonce" | "version">;

/** The side that is greeted: the agent, on its port and on its local sockets. */
export class GuestSession extends Session {
  protected readonly letter = LETTERS.guest;
  readonly #agentNonce: string;
  readonly #role: OpenerRole;
  readonly #onHello: (hello: HelloParams) => HelloFacts;

  /**
   * @param role who may greet here: the host on the port, programs in the guest on a local socket
   * @param agentNonce chosen at the agent's start, so that a host notices a restart
   * @param onHello the facts to answer with; called once for each new session
   */
  constructor(options: { role: OpenerRole; agentNonce: string; onHello: (hello: HelloParams) => HelloFacts }) {
    super();
    this.#role = options.role;
    this.#agentNonce = options.agentNonce;
    this.#onHello = options.onHello;
  }

  /** Announces that this agent started. The only thing a guest may say before it is greeted. */
  ready(): Buffer {
    return encodeFrame({ jsonrpc: "2.0", method: "ready", params: { nonce: this.#agentNonce } });
  }

  notify<M extends Exclude<NotificationMethod, "ready">>(
    method: M,
    params: Omit<NotificationParams<M>, "session">,
  ): Buffer {
    if (this.nonce === undefined) throw new LocalProtocolError(`${method}: no session is open`);
    return encodeFrame({ jsonrpc: "2.0", method, params: { session: this.nonce, ...params } });
  }

  /** The host is gone: say nothing until the next hello. */
  close(): void {
    this.restart(undefined);
  }

  protected isPeersRequest(id: string): boolean {
    return id.startsWith(LETTERS[this.#role]);
  }

  protected acceptRequest(request: Request, events: SessionEvent[]): void {
    if (request.method === "hello") {
      this.#acceptHello(request, events);
      return;
    }
    if (this.nonce !== undefined && request.id.startsWith(`${LETTERS[this.#role]}${this.nonce}.`)) {
      events.push({ type: "request", request });
      return;
    }
    const error = new RequestError("no-session", "this session is not open; say hello first");
    events.push({ type: "send", bytes: refusal(request.id, error) });
  }

  protected acceptResult(id: string, _method: Method, result: unknown, events: SessionEvent[]): void {
    events.push({ type: "result", id, result });
  }

  /** Only guests notify, so this is an echo of our own. */
  protected acceptNotification(): void {
    return;
  }

  #acceptHello({ id, params }: { id: string; params: HelloParams }, events: SessionEvent[]): void {
    const version = PROTOCOL_VERSIONS.find((known) => params.versions.includes(known));
    const problem = this.#helloProblem(id, params);
    if (problem !== undefined || version === undefined) {
      const error =
        problem ??
        new RequestError(
          "no-common-version",
          `the agent speaks protocol version ${PROTOCOL_VERSIONS.join(", ")} and the other side ${params.versions.join(", ")}`,
          { versions: [...PROTOCOL_VERSIONS] },
        );
      events.push({ type: "send", bytes: refusal(id, error) });
      return;
    }
    this.restart(params.nonce);
    const facts = this.#onHello(params);
    const result: HelloResult = { role: "guest", nonce: this.#agentNonce, version, ...facts };
    events.push(
      { type: "send", bytes: this.result({ id, method: "hello" }, result) },
      { type: "opened", hello: params },
    );
  }

  #helloProblem(id: string, { role, nonce }: HelloParams): RequestError | undefined {
    if (role !== this.#role) return new RequestError("not-permitted", `a '${role}' cannot open a session here`);
    if (!id.startsWith(`${LETTERS[role]}${nonce}.`)) {
      return new RequestError("invalid-request", "a hello's id must carry its nonce");
    }
    return undefined;
  }
}
