/** `events.put_to_consumer*`: from a program in a guest that sets a key to a consumer at a broker, one change at a time. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ChannelModel, connect } from "amqplib";
import { connectUnixSocket } from "../../../shared/channels/unix-socket.ts";
import { Client, type ClientOptions } from "../../../shared/client.ts";
import type { NotificationParams } from "../../../shared/protocol/message.ts";
import { newMessageId } from "../../../shared/random.ts";
import type { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import type { Figure } from "../figure.ts";
import { LocalAgent } from "../local-agent.ts";
import { ManagerProcess } from "../manager/manager-process.ts";
import type { Progress } from "../progress.ts";
import { percentile } from "../statistics.ts";
