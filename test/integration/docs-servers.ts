/**
 * What stands beside the host in the transcripts about events: a broker, a mail server, a hypervisor, and somebody who
 * receives webhooks. All of them are real, on loopback, under the names of the documents.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chown, mkdir, open } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { vi } from "vitest";
import { LibvirtUnderTest } from "./support/libvirt.ts";
import { MailServerUnderTest } from "./support/mail.ts";
import { freePort, isListening } from "./support/ports.ts";
import { RabbitUnderTest } from "./support/rabbitmq.ts";

const run = promisify(execFile);

/** Debian's, which has pika. */
const PYTHON = "/usr/bin/python3";

/** Debian's nobody, as whom libvirt's guests run. */
const NOBODY = 65_534;

const BROKER_NAME = "mq.example.com";
const BROKER_PORT = 5672;

/** The documents' receiver of webhooks has a web server with a certificate before it; the lab's has none. */
const RECEIVER_URL = "https://hooks.example.com";
const RECEIVER_PORT = "8080";

/** A domain of libvirt's, with a disk and nothing to boot. */
const DOMAIN = "build1";
export const DOMAIN_UUID = "172dd6f8-7d36-44ef-9a03-3b342034aaa4";

/** Who may publish at the broker. */
const BROKER_USERS = ["vmmessage", "notify"];

export class DocsServers implements AsyncDisposable {
  readonly #directory: string;
  readonly #brokerAddress: string;
  readonly #broker: RabbitUnderTest;
  readonly #brokersDoor: Server;
  readonly #mail: MailServerUnderTest;
  readonly #libvirt: LibvirtUnderTest;
  readonly #receiverPort: number;
  #receiver: ChildProcess | undefined;

  private constructor(
    directory: string,
    brokerAddress: string,
    [broker, brokersDoor, mail, libvirt, receiverPort]: [
      RabbitUnderTest,
      Server,
      MailServerUnderTest,
      LibvirtUnderTest,
      number,
    ],
  ) {
    this.#directory = directory;
    this.#brokerAddress = brokerAddress;
    this.#broker = broker;
    this.#brokersDoor = brokersDoor;
    this.#mail = mail;
    this.#libvirt = libvirt;
    this.#receiverPort = receiverPort;
  }

  /**
   * @param brokerAddress of loopback, and nobody else's: the broker has its documented port there
   * @param password of its users
   */
  static async start(directory: string, brokerAddress: string, password: string): Promise<DocsServers> {
    const [broker, mail, libvirt, receiverPort] = await Promise.all([
      RabbitUnderTest.start(),
      MailServerUnderTest.start(),
      LibvirtUnderTest.start(),
      freePort(),
    ]);
    for (const user of BROKER_USERS) {
      await broker.ctl("add_user", user, password);
      await broker.ctl("set_permissions", user, ".*", ".*", ".*");
    }
    const brokersDoor = createServer((socket) => {
      const other = connect(broker.port, "127.0.0.1");
      for (const end of [socket, other]) end.on("error", () => undefined);
      socket.pipe(other).pipe(socket);
    });
    brokersDoor.listen(BROKER_PORT, brokerAddress);
    await once(brokersDoor, "listening");
    for (const folder of ["images", "programs", "srv"]) await mkdir(join(directory, folder));
    const servers = new DocsServers(directory, brokerAddress, [broker, brokersDoor, mail, libvirt, receiverPort]);
    await servers.#defineDomain();
    return servers;
  }

  /** Names and places of the documents, and where they are here. */
  get names(): [documented: string, own: string][] {
    return [
      ["amqps://vmmessage", "amqp://vmmessage"],
      [BROKER_NAME, this.#brokerAddress],
      [RECEIVER_URL, `http://127.0.0.1:${this.#receiverPort}`],
      [RECEIVER_PORT, String(this.#receiverPort)],
      ["/usr/local/lib/vmmessage", join(this.#directory, "programs")],
      ["/srv/images", join(this.#directory, "images")],
      ["/srv/pages", join(this.#directory, "srv")],
      ["libvirt qemu:///system", `libvirt ${this.#libvirt.uri}`],
    ];
  }

  /** libvirt's connection URI. */
  get hypervisor(): string {
    return this.#libvirt.uri;
  }

  get python(): string {
    return PYTHON;
  }

  /** Where the mail server is. */
  get mail(): { host: string; port: number } {
    return { host: "127.0.0.1", port: this.#mail.port };
  }

  /** Undefined for a command that is none of theirs. */
  async type(command: string, home: string): Promise<string | undefined> {
    const virsh = new RegExp(`^virsh (start|destroy) ${DOMAIN}$`).exec(command);
    if (virsh !== null) return `${await this.#libvirt.virsh(virsh[1] ?? "", DOMAIN)}\n`;
    if (command === "mail -p") return this.#newestMail();
    const receiver = /^python3 (\S+) >> (\S+) &$/.exec(command);
    if (receiver === null) return undefined;
    await this.#startReceiver(join(home, receiver[1] ?? ""), join(home, receiver[2] ?? ""), home);
    return "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#receiver?.kill("SIGKILL");
    this.#brokersDoor.close();
    await Promise.all([this.#broker.close(), this.#mail.close(), this.#libvirt[Symbol.asyncDispose]()]);
  }

  async #defineDomain(): Promise<void> {
    const path = join(this.#libvirt.directory, `${DOMAIN}.qcow2`);
    await run("qemu-img", ["create", "-q", "-f", "qcow2", path, "64M"]);
    if (process.getuid?.() === 0) await chown(path, NOBODY, NOBODY);
    const disk = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;
    await this.#libvirt.define(DOMAIN, { devices: disk, more: `<uuid>${DOMAIN_UUID}</uuid>` });
  }

  async #newestMail(): Promise<string> {
    const { headers, text } = await vi.waitFor(
      async () => {
        const newest = (await this.#mail.messages()).at(-1);
        if (newest === undefined) throw new Error("no mail has come");
        return newest;
      },
      { timeout: 30_000, interval: 100 },
    );
    const shown = ["From", "To", "Subject"].map((name) => `${name}: ${headers.get(name.toLowerCase()) ?? ""}`);
    return `${shown.join("\n")}\n\n${text}`;
  }

  async #startReceiver(program: string, output: string, cwd: string): Promise<void> {
    const file = await open(output, "a");
    const words = ["--pdeathsig=KILL", PYTHON, "-u", program];
    this.#receiver = spawn("setpriv", words, { cwd, stdio: ["ignore", file.fd, "ignore"] });
    await file.close();
    await vi.waitUntil(() => isListening(this.#receiverPort), { timeout: 20_000, interval: 50 });
  }
}
