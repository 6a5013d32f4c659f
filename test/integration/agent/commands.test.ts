import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { AgentUnderTest } from "../support/agents.ts";

let agent: AgentUnderTest;

beforeAll(async () => {
  agent = await AgentUnderTest.start();
});
beforeEach(async () => {
  await agent.run("-x");
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

describe("the guest commands, as ovmd has them", () => {
  test("set, list, get and delete keys as the Oracle blog shows it", async () => {
    await agent.run("-p", "foo=bar");
    await agent.run("--set-param", "mykey=myvalue");
    expect(await agent.list()).toEqual(['{"foo":"bar"}', '{"mykey":"myvalue"}']);
    expect((await agent.run("-g", "mykey")).stdout.toString()).toBe("myvalue\n");
    expect(await agent.run("-r", "mykey")).toEqual({ exitCode: 0, stdout: Buffer.from(""), stderr: "" });
    expect(await agent.list()).toEqual(['{"foo":"bar"}']);
    await agent.run("-x");
    expect(await agent.list()).toEqual([]);
  });

  test("take a value literally, whatever it begins with", async () => {
    for (const value of ["-5", "@file", "a=b=c", "", "--help", "{}", " x "]) {
      expect((await agent.run("-p", `k=${value}`)).exitCode).toBe(0);
      expect((await agent.run("-g", "k")).stdout.toString()).toBe(`${value}\n`);
    }
  });

  test("keep bytes that are not UTF-8 as they are", async () => {
    const bytes = Buffer.from([0, 255, 10, 254, 13]);
    await agent.runWithInput(bytes, "--value-stdin", "stdin");
    await writeFile(join(agent.directory, "bytes"), bytes);
    await agent.run("--value-file", `file=${join(agent.directory, "bytes")}`);
    for (const key of ["stdin", "file"]) {
      expect((await agent.run("-g", key)).stdout).toEqual(Buffer.concat([bytes, Buffer.from("\n")]));
    }
    expect(await readFile(join(agent.runDirectory, "keys", "stdin"))).toEqual(bytes);
  });

  test("set several keys in one atomic change, or none of them", async () => {
    await agent.run("-p", "a=1", "-p", "b=2");
    expect(await agent.list()).toEqual(['{"a":"1"}', '{"b":"2"}']);
    expect(await agent.run("-p", "c=3", "-p", "a=4", "--if-absent")).toMatchObject({ exitCode: 5 });
    expect(await agent.list()).toEqual(['{"a":"1"}', '{"b":"2"}']);
  });

  test.each([
    { args: ["-p", "no-equals-sign"], exitCode: 3, says: "'no-equals-sign' is not KEY=VALUE" },
    { args: ["-p", "=value"], exitCode: 3, says: "a key cannot be empty" },
    { args: ["-p", "a\u0007b=x"], exitCode: 3, says: "a key cannot contain control characters" },
    { args: ["-p", `${"k".repeat(257)}=x`], exitCode: 3, says: "a key of 257 bytes is over the limit of 256" },
    { args: ["-p", `k=${"v".repeat(32 * 1024 + 1)}`], exitCode: 4, says: "over the limit" },
    { args: ["-p", `k=${"v".repeat(8185)}`], exitCode: 4, says: "8193 bytes needed, 8192 free, limit 8192" },
    { args: ["-e", "no spaces"], exitCode: 3, says: "an event is 1 to 64 of A-Z 0-9 . _ -" },
    { args: ["-g", "missing"], exitCode: 1, says: "there is no key 'missing'" },
    { args: ["-r", "missing"], exitCode: 1, says: "there is no key 'missing'" },
    { args: ["--ack", "missing"], exitCode: 1, says: "there is no key 'missing'" },
    { args: ["-l", "-x"], exitCode: 3, says: "'list' and 'clear' are two things to do" },
    { args: ["--ttl", "5", "-l"], exitCode: 3, says: "--ttl goes with set" },
    { args: ["-s", "explode"], exitCode: 3, says: "there is no target 'explode'" },
  ])("refuse $args.0 $says with exit code $exitCode and change nothing", async ({ args, exitCode, says }) => {
    const result = await agent.run(...args);
    expect(result.stderr).toContain(says);
    expect(result.exitCode).toBe(exitCode);
    expect(await agent.list()).toEqual([]);
  });

  test("fill the cache to its last byte and say what is needed beyond", async () => {
    // {"k":"..."} is 8 bytes around the value.
    expect((await agent.run("-p", `k=${"v".repeat(8184 - 1)}`)).exitCode).toBe(0);
    const [line = ""] = await agent.list();
    expect(Buffer.byteLength(line)).toBe(8191);
    expect((await agent.run("-p", "z=")).stderr).toContain("8 bytes needed, 1 free, limit 8192");
  });

  test("list every entry in exactly the bytes that it counts", async () => {
    await agent.run("-p", "k\u200e=\u0085\u2066\u001b[31m\ufeff", "-p", "bytes=ok");
    await agent.runWithInput(Buffer.from([0xff]), "--value-stdin", "b");
    const { stdout } = await agent.run("-l");
    expect(stdout.toString()).toContain(String.raw`\u0085`);
    expect(stdout.toString()).toContain(String.raw`\u001b[31m`);
    const { usedBytes } = JSON.parse((await agent.run("-l", "--json")).stdout.toString()) as { usedBytes: number };
    expect(stdout.length - (await agent.list()).length).toBe(usedBytes);
  });

  test("print what a program can use with --json, errors too", async () => {
    await agent.run("-p", "k=v");
    expect(JSON.parse((await agent.run("-g", "k", "--json")).stdout.toString())).toMatchObject({
      key: "k",
      value: "v",
    });
    expect(JSON.parse((await agent.run("-g", "none", "--json")).stdout.toString())).toEqual({
      error: { code: "no-such-key", message: "there is no key 'none'", key: "none" },
    });
  });

  test("forget a key when its TTL is over", async () => {
    await agent.run("-p", "short=x", "--ttl", "300ms");
    await expect.poll(() => agent.list()).toEqual([]);
  });

  test("keep a secret's value out of lists and off the disk", async () => {
    await agent.run("-p", "password=correct horse", "--secret");
    expect(await agent.list()).toEqual(['{"password":null}']);
    expect((await agent.run("-g", "password")).stdout.toString()).toBe("correct horse\n");
    expect(await readFile(join(agent.stateDirectory, "cache.json"), "utf8")).not.toContain("horse");
  });

  test("wait for a key that is set later, and give up in time for one that is not", async () => {
    const waiting = agent.run("--wait", "later", "--timeout", "20");
    await agent.run("-p", "later=now");
    expect((await waiting).stdout.toString()).toBe("now\n");
    expect(await agent.run("--wait", "never", "--timeout", "300ms")).toMatchObject({ exitCode: 10 });
  });

  test("say how to reach an agent that is not running", async () => {
    const { exitCode, stderr } = await agent.run("-l", "--socket", join(agent.directory, "nobody"));
    expect(stderr).toContain("is 'agent run' running? 'agent doctor' says more");
    expect(exitCode).toBe(10);
  });

  test("explain themselves with examples and the table of exit codes", async () => {
    const { stdout, exitCode } = await agent.run("--help");
    expect(stdout.toString()).toMatch(/Examples:[^]*agent -l[^]*Exit codes/);
    expect(exitCode).toBe(0);
    expect((await agent.run("-v")).stdout.toString()).toMatch(/^agent \d+\.\d+\.\d+\n$/);
  });
});
