/** A console with two users and one VM, whose guest takes what it is sent. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NewMessage } from "../../../../shared/api/schemas.ts";
import {
  AuthenticationError,
  type Authenticator,
  TooManyAttemptsError,
} from "../../../../manager/access/authenticator.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import { type ConsoleOptions, ConsoleServer } from "../../../../manager/console/ssh-server.ts";
import type { Service } from "../../../../manager/service/service.ts";
import { memoryLog, noSuchVm, ol6, receipt, scriptedService } from "../../../unit/manager/console/scripted-service.ts";
import { SshClient } from "./ssh.ts";

export const PASSWORD = "Manager1";

export class ScriptedUsers implements Authenticator {
  /** Public keys in OpenSSH's form, by user. */
  readonly keys = new Map<string, string[]>();
  /** `password USER`, `key USER TYPE`, in the order they came, with `via`. */
  readonly attempts: string[] = [];
  isThrottled = false;

  allow(user: string, privateKeyPath: string): void {
    const [type = "", base64 = ""] = readFileSync(`${privateKeyPath}.pub`, "utf8").split(" ");
    this.keys.set(user, [...(this.keys.get(user) ?? []), `${type} ${base64}`]);
  }

  async byPassword({ user, password }: { user: string; password: string }, via: string): Promise<Principal> {
    this.attempts.push(`password ${user} ${via}`);
    return this.#decide(user, via, user === "admin" && password === PASSWORD);
  }

  async byPublicKey({ user, key }: { user: string; key: string }, via: string): Promise<Principal> {
    this.attempts.push(`key ${user} ${key.split(" ")[0] ?? ""} ${via}`);
    return this.#decide(user, via, this.keys.get(user)?.includes(key) === true);
  }

  byToken(): Promise<Principal> {
    throw new Error("the console has no tokens");
  }

  #decide(name: string, via: string, isRight: boolean): Promise<Principal> {
    if (this.isThrottled) return Promise.reject(new TooManyAttemptsError(30_000));
    if (!isRight) return Promise.reject(new AuthenticationError());
    return Promise.resolve({ name, via, role: "admin", vms: ["*"], keys: [""] });
  }
}

export class ScriptedConsole implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "console-"));
  readonly users = new ScriptedUsers();
  readonly sent: { who: string; message: NewMessage }[] = [];
  readonly log = memoryLog();
  #server: ConsoleServer | undefined;

  get server(): ConsoleServer {
    if (this.#server === undefined) throw new Error("the console is not started");
    return this.#server;
  }

  get client(): SshClient {
    return new SshClient(this.directory, this.server.port);
  }

  async start(changes: Partial<ConsoleOptions> = {}): Promise<this> {
    this.#server = await ConsoleServer.start({
      address: "127.0.0.1",
      port: 0,
      stateDirectory: this.directory,
      service: scriptedService(this.script()),
      authenticator: this.users,
      log: this.log,
      ...changes,
    });
    return this;
  }

  script(): Partial<Service> {
    return {
      send: (who, vm, message) => {
        if (vm !== ol6.name) return Promise.reject(noSuchVm(vm));
        this.sent.push({ who: who.name, message });
        return Promise.resolve(receipt());
      },
      listVms: () => [ol6],
      showVm: () => ol6,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.close();
    rmSync(this.directory, { recursive: true });
  }
}
