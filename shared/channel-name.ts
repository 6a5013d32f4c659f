/** The name of the virtio-serial port on which a guest's agent listens. */
export const CHANNEL_NAME = "org.vmmessage.agent.0";
