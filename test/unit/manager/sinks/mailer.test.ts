import { describe, expect, test } from "vitest";
import { headerText, isMailAddress, Mailer } from "../../../../manager/sinks/mailer.ts";

const mail = { to: ["ops@example.com"], subject: "s", text: "t" };

describe("a mail address", () => {
  test.each(["ops@example.com", "a.b+c@localhost", "o'neill@mail.example", `${"a".repeat(64)}@example.com`])(
    "is %s",
    (address) => {
      expect(isMailAddress(address)).toBe(true);
    },
  );

  test.each([
    "",
    "ops",
    "@example.com",
    "ops@",
    "ops@example.com\r\nRCPT TO:<evil@example.com>",
    "ops@example.com\nBcc: evil@example.com",
    "ops@example.com, evil@example.com",
    "ops@example.com>",
    "<ops@example.com>",
    '"ops"@example.com',
    "ops@example.com ",
    "ops @example.com",
    "ops@-example.com",
    "ops@exa_mple.com",
    "ops@example..com",
    "öps@example.com",
    `${"a".repeat(65)}@example.com`,
    `a@${"b.".repeat(130)}com`,
  ])("is not %j", (address) => {
    expect(isMailAddress(address)).toBe(false);
  });
});

describe("a header's text", () => {
  test("has no controls and nothing that reorders, hides or ends text", () => {
    expect(headerText("web\r\nBcc: evil@example.com\0\u001b[31m\u202e\u2028\ud800!")).toBe(
      "webBcc: evil@example.com[31m!",
    );
  });

  test("is cut at 200 characters, and not inside one", () => {
    expect(headerText("a".repeat(200))).toHaveLength(200);
    expect(headerText("\u{1f600}".repeat(201))).toBe(`${"\u{1f600}".repeat(197)}...`);
  });
});

describe("the mailer", () => {
  test("without a server says where one is named", async () => {
    const mailer = new Mailer(() => undefined);
    expect(mailer.isConfigured).toBe(false);
    const problem = { problem: "unreachable", message: "there is no mail server; name it in events.mail" };
    await expect(mailer.send(mail)).rejects.toMatchObject(problem);
    await expect(mailer.check()).rejects.toMatchObject(problem);
  });

  test("sends nothing to what is no address", async () => {
    const mailer = new Mailer(() => undefined);
    const to = ["ops@example.com", "ops@example.com\r\nRCPT TO:<evil@example.com>"];
    await expect(mailer.send({ ...mail, to })).rejects.toMatchObject({
      problem: "refused",
      message: "'ops@example.com\\u000d\\u000aRCPT TO:<evil@example.com>' is no mail address",
    });
  });

  test("has no password when there is no file of it, and connects to nobody without", async () => {
    const config = { host: "localhost", port: 1, tls: "required", user: "u", from: "m@example.com" } as const;
    await expect(new Mailer(() => config).send(mail)).rejects.toThrow("has the user 'u' and no passwordFile");
    const named = { ...config, passwordFile: "/does/not/exist" };
    await expect(new Mailer(() => named).send(mail)).rejects.toMatchObject({
      problem: "unreachable",
      message: "cannot read /does/not/exist (ENOENT), which events.mail.passwordFile names",
    });
  });
});
