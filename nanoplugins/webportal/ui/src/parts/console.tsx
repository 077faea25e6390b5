// Screen or serial port of an instance: tickets, connection, reconnect, keys. What draws is in screen.ts and serial.ts.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useCallback, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../api/client";
import type { ConsoleTicket, Instance } from "../api/types";
import { whyNot } from "../logic/bulk";
import type { ConsoleLink } from "./console-link";
import { useInstanceAction } from "./instance-actions";
import { MediaButton } from "./media-drives";
import { ProblemAlert } from "./problem";
import { openScreen } from "./screen";
import { openSerial } from "./serial";

type Kind = "screen" | "serial";
type Status = "connecting" | "connected" | "closed";
const RETRIES = 6;
const RETRY_MS = 1_500;
const KEYS = ["ctrlAltDel", "ctrlAltF1", "ctrlAltF2", "altTab", "escape"] as const;

interface ConsoleProps {
  instance: Instance;
  kind: Kind;
  isWhole?: boolean;
}

export function Console({ instance, kind, isWhole = false }: ConsoleProps) {
  const { t } = useTranslation("console");
  const frame = useRef<HTMLDivElement>(null);
  const refusal = whyNot(instance, "console");
  const { holder, link, status, error, connect } = useConsole(instance.id, kind, refusal === null);
  const shown = refusal === null ? status : "closed";
  return (
    <div className={isWhole ? "nano-console is-whole" : "nano-console"}>
      <SpaceBetween direction="horizontal" size="xs" alignItems="center">
        <StatusIndicator type={LOOKS[shown]}>{t(`status.${shown}`)}</StatusIndicator>
        <Keys link={link} kind={kind} isConnected={shown === "connected"} />
        {kind === "screen" && <MediaButton instance={instance} />}
        <Button onClick={() => void frame.current?.requestFullscreen()}>{t("fullScreen")}</Button>
        {!isWhole && (
          <Button
            iconName="external"
            onClick={() => window.open(`/instances/${instance.id}/console/${kind}`, "_blank", "noopener,width=1040,height=820")}
          >
            {t("newWindow")}
          </Button>
        )}
        <Button iconName="refresh" disabled={refusal !== null} onClick={connect}>
          {t("reconnect")}
        </Button>
      </SpaceBetween>
      <ProblemAlert error={refusal === null ? error : null} onRetry={connect} />
      <div ref={frame} className="nano-screen">
        <div ref={holder} data-testid={`console-${kind}`} data-status={shown} />
        {refusal !== null && <Closed instance={instance} reason={refusal} />}
      </div>
    </div>
  );
}

const LOOKS = { connecting: "in-progress", connected: "success", closed: "stopped" } as const;

function useConsole(id: string, kind: Kind, isPossible: boolean) {
  const holder = useRef<HTMLDivElement>(null);
  const link = useRef<ConsoleLink | null>(null);
  const [status, setStatus] = useState<Status>("connecting");
  const [error, setError] = useState<unknown>(null);
  const [round, setRound] = useState(0);
  const connect = useCallback(() => setRound((before) => before + 1), []);
  useEffect(() => {
    const element = holder.current;
    if (!element || !isPossible) return;
    const abort = new AbortController();
    setError(null);
    void keepOpen(id, kind, element, abort.signal, {
      link: (opened) => (link.current = opened),
      status: setStatus,
      error: setError,
    });
    return () => {
      abort.abort();
      link.current?.close();
      link.current = null;
    };
  }, [id, kind, isPossible, round]);
  return { holder, link, status, error, connect };
}

interface Told {
  link(link: ConsoleLink): void;
  status(status: Status): void;
  error(error: unknown): void;
}

/** A ticket serves once, so every new connection asks for another. */
async function keepOpen(id: string, kind: Kind, element: HTMLElement, signal: AbortSignal, tell: Told): Promise<void> {
  for (let attempt = 0; attempt < RETRIES && !signal.aborted; attempt += 1) {
    tell.status("connecting");
    try {
      const ticket = await post<ConsoleTicket>(`/instances/${id}/console`, { kind });
      if (signal.aborted) return;
      const opened = (kind === "screen" ? openScreen : openSerial)(element, addressOf(ticket), () => {
        attempt = 0;
        tell.error(null);
        tell.status("connected");
      });
      tell.link(opened);
      await opened.closed;
      opened.close();
    } catch (problem) {
      if (!signal.aborted) tell.error(problem);
    }
    if (!signal.aborted) tell.status("closed");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS * (attempt + 1)));
  }
}

function addressOf(ticket: ConsoleTicket): string {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const secret = ticket.ws_path.includes("?") ? "" : `?ticket=${encodeURIComponent(ticket.ticket)}`;
  return `${scheme}://${location.host}${ticket.ws_path}${secret}`;
}

function Keys({ link, kind, isConnected }: { link: React.RefObject<ConsoleLink | null>; kind: Kind; isConnected: boolean }) {
  const { t } = useTranslation("console");
  const paste = async () => link.current?.paste(await navigator.clipboard.readText());
  return (
    <SpaceBetween direction="horizontal" size="xs">
      {kind === "screen" && (
        <ButtonDropdown
          disabled={!isConnected}
          items={KEYS.map((key) => ({ id: key, text: t(`keys.${key}`) }))}
          mainAction={{ text: t("keys.ctrlAltDel"), onClick: () => link.current?.press("ctrlAltDel") }}
          onItemClick={({ detail }) => link.current?.press(detail.id)}
          ariaLabel={t("sendKeys")}
        />
      )}
      <Button disabled={!isConnected} onClick={() => void paste()}>
        {t("paste")}
      </Button>
    </SpaceBetween>
  );
}

function Closed({ instance, reason }: { instance: Instance; reason: string }) {
  const { t } = useTranslation(["console", "instances"]);
  const run = useInstanceAction(instance);
  const canStart = whyNot(instance, "start") === null;
  return (
    <div className="nano-console-over">
      <SpaceBetween size="m" alignItems="center">
        <Box color="inherit">{reason || t("console:off")}</Box>
        {canStart && (
          <Button variant="primary" onClick={() => void run("start")}>
            {t("instances:actions.start")}
          </Button>
        )}
      </SpaceBetween>
    </div>
  );
}
