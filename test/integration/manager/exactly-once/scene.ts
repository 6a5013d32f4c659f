/** A manager, a relay and a recorded agent: what a test of one VM needs. */
import { onTestFinished, vi } from "vitest";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import { ManagerUnderTest } from "../../support/managers.ts";
import type { SentMessage } from "./expected-history.ts";
import { RecordedAgent } from "./recorded-agent.ts";
import { Relay } from "./relay.ts";

export const SOON = { timeout: 30_000, interval: 20 };

export class Scene {
  readonly agent: RecordedAgent;
  readonly relay: Relay;
  readonly manager: ManagerUnderTest;
  /** In the order in which they were sent. */
  readonly sent: SentMessage[] = [];

  private constructor(agent: RecordedAgent, relay: Relay, manager: ManagerUnderTest) {
    this.agent = agent;
    this.relay = relay;
    this.manager = manager;
  }

  /** The VM is called `web1`. Ended with the test. */
  static async start(): Promise<Scene> {
    const agent = await RecordedAgent.start();
    onTestFinished(() => agent[Symbol.asyncDispose]());
    const relay = await Relay.start(agent.channelPath);
    onTestFinished(() => relay[Symbol.asyncDispose]());
    const manager = await ManagerUnderTest.start([{ name: "web1", socket: relay.path }]);
    onTestFinished(() => manager[Symbol.asyncDispose]());
    await manager.untilLink("web1", "up");
    return new Scene(agent, relay, manager);
  }

  async send(message: SentMessage): Promise<Receipt> {
    this.sent.push(message);
    return this.manager.send("web1", message);
  }

  async deliver(message: SentMessage): Promise<Receipt> {
    await this.send(message);
    return this.manager.untilReceipt(message.params.messageId, "delivered");
  }

  async restartManager(): Promise<void> {
    await this.manager.kill("SIGKILL");
    await this.manager.start();
  }

  async restartAgent(): Promise<void> {
    await this.agent.kill();
    await this.agent.start();
  }

  /** The change was asked for more than once. */
  async untilRetried(messageId: string): Promise<void> {
    await vi.waitUntil(() => this.relay.attempts(messageId) > 1, SOON);
  }
}
