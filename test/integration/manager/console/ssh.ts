/** The real ssh client, with nothing of the user's configuration. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  /** Types it. */
  write(text: string): void;
  /** Ends its input. */
  end(): void;
  /** What it has printed so far. */
  readonly printed: string;
  readonly finished: Promise<Finished>;
  kill(): void;
}

/** A client whose files are in `directory`. */
export class SshClient {
  readonly #directory: string;
  readonly #port: number;

  constructor(directory: string, port: number) {
    this.#directory = directory;
    this.#port = port;
    writeFileSync(join(directory, "askpass"), '#!/bin/sh\necho "$CONSOLE_TEST_PASSWORD"\n');
    chmodSync(join(directory, "askpass"), 0o700);
  }

  /** Makes a key pair; answers with the path of the private one. */
  makeKey(name: string, type = "ed25519"): string {
    const path = join(this.#directory, name);
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", name, "-f", path]);
    return path;
  }

  options(more: Record<string, string | number> = {}): string[] {
    const all = {
      UserKnownHostsFile: join(this.#directory, "known_hosts"),
      GlobalKnownHostsFile: "/dev/null",
      StrictHostKeyChecking: "accept-new",
      IdentitiesOnly: "yes",
      IdentityAgent: "none",
      NumberOfPasswordPrompts: 1,
      LogLevel: "ERROR",
      ...more,
    };
    return ["-F", "none", ...Object.entries(all).flatMap(([name, value]) => ["-o", `${name}=${value}`])];
  }

  withKey(key: string, ...words: string[]): Running {
    return this.start(["-i", key, "-o", "PreferredAuthentications=publickey", ...words]);
  }

  withPassword(password: string, ...words: string[]): Running {
    return this.start(["-o", "PreferredAuthentications=password", ...words], password);
  }

  start(words: string[], password = ""): Running {
    return startProgram("ssh", [...this.options(), "-p", String(this.#port), ...words], this.environment(password));
  }

  environment(password: string): NodeJS.ProcessEnv {
    const askpass = join(this.#directory, "askpass");
    return { ...process.env, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force", CONSOLE_TEST_PASSWORD: password };
  }
}

export function startProgram(program: string, words: string[], env: NodeJS.ProcessEnv): Running {
  const child = spawn(program, words, { env, stdio: "pipe" });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => undefined);
  const finished = once(child, "close").then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return {
    write: (text) => child.stdin.write(text),
    end: () => child.stdin.end(),
    get printed() {
      return stdout;
    },
    finished,
    kill: () => child.kill("SIGKILL"),
  };
}

export async function finish(running: Running, input = ""): Promise<Finished> {
  running.write(input);
  running.end();
  return running.finished;
}
