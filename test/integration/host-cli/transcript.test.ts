import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { version } from "../../../shared/version.ts";
import { RealAgent, startVmmessage, temporaryDirectory, until, vmmessage } from "./programs.ts";

let directory: string;
let agent: RealAgent;

beforeEach(async () => {
  directory = await temporaryDirectory();
  agent = new RealAgent(directory, join(directory, "web1.sock"));
  await agent.start();
});

/** `vmmessage -v web1 ...` */
function web1(args: readonly string[], stdin: string | Uint8Array = "") {
  return vmmessage(["-v", "web1", ...args], { env: { VMMESSAGE_SOCKET_DIR: directory }, stdin });
}

const OPENING = `vmmessage ${version}.\nConnected.\nVM : 'web1' has status :  Running.\n`;

describe("the transcript of ovm_vmmessage", () => {
  it("of a message sent, which the guest then reads", async () => {
    const sent = await web1(["-u", "admin", "-p", "secret1", "-h", "localhost", "-k", "foo", "-V", "bar"]);
    expect(sent).toMatchObject({
      code: 0,
      stdout: `${OPENING}Sending message.\nMessage sent successfully.\n`,
      stderr: "vmmessage: there is no manager on this host; -u and -p were not used\n",
    });
    expect((await agent.run("-g", "foo")).stdout).toBe("bar\n");
  });

  it("of a query for what the guest set", async () => {
    await agent.run("-p", "newkey=newvalue");
    const queried = await web1(["-q", "newkey"]);
    expect(queried).toMatchObject({ code: 0, stderr: "" });
    expect(queried.stdout.replace(/\d+ seconds?/, "N seconds")).toBe(
      `${OPENING}Querying for key 'newkey'.\nQuery successful.\n` +
        "Query for Key : 'newkey' returned value 'newvalue'.\nKey set N seconds ago.\n",
    );
  });

  it("of several keys in one message, which take effect together", async () => {
    expect((await web1(["-k", "a", "-V", "1", "-k", "b", "-V", "2"])).stdout).toBe(
      `${OPENING}Sending message.\nMessage sent successfully.\n`,
    );
    const { entries } = JSON.parse((await web1(["list", "--json"])).stdout) as { entries: { revision: number }[] };
    expect(entries.map(({ revision }) => revision)).toEqual([1, 1]);
  });

  it("of a key that is not there: the error is on stderr", async () => {
    expect(await web1(["-q", "nope"])).toMatchObject({
      code: 1,
      stdout: `${OPENING}Querying for key 'nope'.\n`,
      stderr: "vmmessage: there is no key 'nope'\n",
    });
  });
});

describe("values", () => {
  const BYTES = Uint8Array.from({ length: 256 }, (_, index) => index);

  it("out of a file and stdin arrive byte for byte, and come back so with --quiet", async () => {
    const file = join(directory, "bytes");
    await writeFile(file, BYTES);
    expect(await web1(["--value-file", `file=${file}`, "--value-stdin", "stdin", "--quiet"], BYTES)).toMatchObject({
      code: 0,
      stdout: "",
    });
    const withNewline = Buffer.concat([BYTES, Buffer.from("\n")]);
    for (const key of ["file", "stdin"]) {
      expect((await agent.run("-g", key)).bytes).toEqual(withNewline);
      expect((await web1(["-q", key, "--quiet"])).bytes).toEqual(withNewline);
    }
  });

  it("are literal on the command line", async () => {
    await web1(["-k", "dash", "-V", "--json"]);
    expect((await agent.run("-g", "dash")).stdout).toBe("--json\n");
  });

  it("that a terminal would obey are escaped, but with --quiet", async () => {
    await agent.run("-p", "evil=\u001b[2J");
    expect((await web1(["-q", "evil"])).stdout).toContain("returned value '\\u001b[2J'.");
    expect((await web1(["-q", "evil", "--json"])).stdout).toContain('"value":"\\u001b[2J"');
    expect((await web1(["-q", "evil", "--quiet"])).stdout).toBe("\u001b[2J\n");
  });

  it("over a limit change nothing, and the error says how much there is", async () => {
    const refused = await web1(["-k", "a", "-V", "x".repeat(8192)]);
    expect(refused).toMatchObject({ code: 4 });
    expect(refused.stderr).toContain("8200 bytes needed, 8192 free, limit 8192");
    const endless = await web1(["--value-file", "a=/dev/zero", "--json"]);
    expect(endless).toMatchObject({ code: 4 });
    expect(JSON.parse(endless.stdout)).toMatchObject({ error: { code: "over-limit", limit: 32768 } });
  });
});

describe("further commands", () => {
  it("conditions hold or nothing changes", async () => {
    await web1(["-k", "a", "-V", "1"]);
    expect(await web1(["-k", "a", "-V", "2", "-k", "b", "-V", "2", "--if-absent"])).toMatchObject({ code: 5 });
    expect(await web1(["-k", "a", "-V", "2", "--if-revision", "0"])).toMatchObject({ code: 5 });
    expect(await web1(["-k", "a", "-V", "2", "--if-revision", "1"])).toMatchObject({ code: 0 });
    expect(await web1(["delete", "a", "--if-revision", "1"])).toMatchObject({ code: 5 });
    expect((await agent.run("-l")).stdout).toBe('{"a":"2"}\n');
  });

  it("list is an aligned table with ages; a secret shows its name only", async () => {
    await web1(["-k", "password", "-V", "hunter2", "--secret", "--read-only"]);
    await agent.run("-p", "com.example.ready=yes");
    const { stdout } = await web1(["list"]);
    expect(stdout.replaceAll(/(\d+ seconds?|AGE) +/g, "AGE  ").split("\n")).toEqual([
      "KEY                VALUE  SET BY  AGE  REVISION  NOTES",
      "com.example.ready  yes    guest   AGE  2",
      "password                  host    AGE  1         secret, read-only",
      "",
    ]);
    expect((await web1(["list", "com.", "--quiet"])).stdout).toBe("com.example.ready\n");
    expect((await web1(["-q", "password", "--quiet"])).stdout).toBe("hunter2\n");
  });

  it("delete says which keys there were; clear deletes the rest", async () => {
    await web1(["set", "a=1", "b=2", "c=3"]);
    expect((await web1(["delete", "a", "nope"])).stdout).toBe(
      `${OPENING}Deleting keys.\nKey 'a' deleted.\nThere was no key 'nope'.\n`,
    );
    expect(await web1(["delete", "a"])).toMatchObject({ code: 1, stderr: "vmmessage: 'web1' has no key 'a'\n" });
    expect((await web1(["clear"])).stdout).toBe(`${OPENING}Deleting all keys.\n2 keys deleted.\n`);
    expect((await agent.run("-l")).stdout).toBe("");
  });

  it("a key with a TTL goes by itself", async () => {
    await web1(["-k", "a", "-V", "1", "--ttl", "200ms"]);
    await until(async () => (await agent.run("-g", "a")).code === 1);
  });

  it("info, ping and doctor speak of the agent", async () => {
    expect((await web1(["info"])).stdout).toMatch(/^VM {10,}web1\nagent {8,}vmmessage /);
    expect(JSON.parse((await web1(["info", "--json"])).stdout)).toMatchObject({ vm: "web1", keys: 0 });
    expect((await web1(["ping"])).stdout).toMatch(/^'web1' answered in [\d.]+ ms; it is up for /);
    expect((await web1(["doctor"])).stdout).toMatch(/^ok {4}VM: 'web1' .*\nok {4}agent: .*\nok {4}cache: 0 keys, /);
    expect(JSON.parse((await web1(["doctor", "--json"])).stdout)).toMatchObject({
      checks: [
        { check: "VM", ok: true },
        { check: "agent", ok: true },
        { check: "cache", ok: true },
      ],
    });
  });
});

describe("--wait-ack", () => {
  it("waits for the word of a program in the guest and prints its result", async () => {
    const args = ["-v", "web1", "--socket-dir", directory, "-k", "job", "-V", "42", "--wait-ack"];
    const waiting = startVmmessage(args);
    await until(() => waiting.stdout.endsWith("Message sent successfully.\n"));
    expect(await agent.run("--ack", "job", "--result", "done \u001b[1m")).toMatchObject({ code: 0 });
    expect(await waiting.outcome()).toMatchObject({
      code: 0,
      stdout: `${OPENING}Sending message.\nMessage sent successfully.\nMessage acknowledged with result 'done \\u001b[1m'.\n`,
    });
  });

  it("is bounded, and the message is there all the same", async () => {
    const late = await web1(["-k", "job", "-V", "42", "--wait-ack", "--timeout", "1"]);
    expect(late).toMatchObject({ code: 11 });
    expect(late.stderr).toContain("'web1' has the message, but nothing there acknowledged it");
    expect((await agent.run("-g", "job")).stdout).toBe("42\n");
  });
});
