/** What a hostile or hung QEMU might do on its QMP socket. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";

export const CHANNEL_NAME = "org.vmmessage.agent.0";

interface Command {
  execute: string;
  arguments: Record<string, string>;
  id: number;
}

type Answers = Record<string, unknown>;

/** Of a VM that runs and has our port. */
export const WELL: Answers = {
  qmp_capabilities: {},
  "query-name": { name: "web1" },
  "query-uuid": { UUID: "5E0D9C5C-6F4E-4D0B-9A39-1D8F3A5F1C11" },
  "query-status": { status: "running" },
  "query-chardev": [
    { label: "c0", filename: "disconnected:unix:/run/vms/web1.sock,server=on", "frontend-open": false },
    { label: "mon", filename: "unix:/run/vms/web1.qmp,server=on", "frontend-open": true },
  ],
  "qom-list /machine/peripheral": [
    { name: "type", type: "string" },
    { name: "port0", type: "child<virtserialport>" },
  ],
  "qom-list /machine/peripheral-anon": [],
  "qom-get /machine/peripheral/port0 name": CHANNEL_NAME,
  "qom-get /machine/peripheral/port0 chardev": "c0",
};

const GREETING = { QMP: { version: {}, capabilities: [] } };

export class FakeQemu {
  readonly path: string;
  readonly directory: string;
  /** May be changed at any time. A command that is not there is never answered. */
  answers: Answers = { ...WELL };
  readonly asked: string[] = [];
  readonly #server: Server;
  #client: Socket | undefined;

  private constructor(greeting: string) {
    this.directory = mkdtempSync(join(tmpdir(), "vmm-fake-"));
    this.path = join(this.directory, "web1.qmp");
    this.#server = createServer((socket) => {
      this.#client = socket.on("error", () => undefined);
      if (greeting !== "") socket.write(`${greeting}\r\n`);
      createInterface(socket)
        .on("line", (line) => {
          this.#answer(line);
        })
        .on("error", () => undefined);
    });
  }

  /** An empty `greeting` is not sent. */
  static async listen(greeting = JSON.stringify(GREETING)): Promise<FakeQemu> {
    const qemu = new FakeQemu(greeting);
    await new Promise<void>((resolve) => qemu.#server.listen(qemu.path, resolve));
    onTestFinished(() => {
      qemu.end();
      rmSync(qemu.directory, { recursive: true, force: true });
    });
    return qemu;
  }

  /** Sent as it is. */
  say(text: string): void {
    this.#client?.write(text);
  }

  announce(event: string, data: object = {}): void {
    this.say(`${JSON.stringify({ event, data, timestamp: { seconds: 1_700_000_000, microseconds: 250_000 } })}\r\n`);
  }

  /** As when the process ends. */
  end(): void {
    this.#server.close();
    this.#client?.destroy();
  }

  #answer(line: string): void {
    const { execute, arguments: args, id } = JSON.parse(line) as Command;
    const command = [execute, ...Object.values(args)].join(" ");
    this.asked.push(command);
    if (command in this.answers) this.say(`${JSON.stringify({ return: this.answers[command], id })}\r\n`);
  }
}
