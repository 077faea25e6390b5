// Small pieces that say one thing: a state, a time, an id to copy, a share of something.
import Badge from "@cloudscape-design/components/badge";
import Box from "@cloudscape-design/components/box";
import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator, { type StatusIndicatorProps } from "@cloudscape-design/components/status-indicator";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { useFormat } from "../app/format";
import { share } from "../logic/format";
import { useIsNarrow } from "./narrow";

const LOOKS: Record<string, StatusIndicatorProps.Type> = {
  running: "success",
  ready: "success",
  online: "success",
  enabled: "success",
  succeeded: "success",
  stopped: "stopped",
  disabled: "stopped",
  cancelled: "stopped",
  paused: "warning",
  missing: "warning",
  unknown: "warning",
  unreachable: "error",
  revoked: "stopped",
  crashed: "error",
  failed: "error",
  creating: "in-progress",
  deleting: "in-progress",
  stopping: "in-progress",
  suspended: "stopped",
  available: "success",
  attached: "success",
  free: "success",
  draining: "in-progress",
  full: "warning",
  unavailable: "error",
  degraded: "warning",
  uploading: "in-progress",
  inspecting: "in-progress",
  pending: "pending",
};

/** Icon, word and colour; a running operation is no running instance, so `look` may override. */
export function StateBadge({ state, look }: { state: string; look?: StatusIndicatorProps.Type }) {
  const { t } = useTranslation();
  return <StatusIndicator type={look ?? LOOKS[state] ?? "info"}>{t(`states.${state}`, { defaultValue: state })}</StatusIndicator>;
}

export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function Ago({ iso }: { iso: string | null | undefined }) {
  const format = useFormat();
  useNow(30_000);
  return iso ? <time dateTime={iso} title={format.time(iso)}>{format.ago(iso)}</time> : <>–</>;
}

export function Copy({ text, label, isBlock = false }: { text: string; label?: string; isBlock?: boolean }) {
  const { t } = useTranslation();
  return (
    <CopyToClipboard
      variant={isBlock ? "button" : "inline"}
      textToCopy={text}
      textToDisplay={isBlock ? undefined : (label ?? text)}
      copyButtonText={isBlock ? (label ?? t("copy")) : undefined}
      copyButtonAriaLabel={`${t("copy")}: ${label ?? text}`}
      copySuccessText={t("copied")}
      copyErrorText={t("copyFailed")}
    />
  );
}

export function Tags({ tags }: { tags: readonly string[] }) {
  if (tags.length === 0) return <>–</>;
  return (
    <span className="nano-tags">
      {tags.map((tag) => (
        <Badge key={tag}>{tag}</Badge>
      ))}
    </span>
  );
}

export function Addresses({ addresses }: { addresses: readonly string[] }) {
  const isNarrow = useIsNarrow();
  if (addresses.length === 0) return <>–</>;
  return (
    <>
      {addresses.map((address) => (
        <div key={address}>
          {isNarrow ? address : <Copy text={address} />}
        </div>
      ))}
    </>
  );
}

/** A small line of how much is used, with the numbers; what is counted needs no units. */
export function Meter({ used, total, isCount = false }: { used: number | null; total: number | null; isCount?: boolean }) {
  const { t } = useTranslation();
  const format = useFormat();
  if (!total) return <>–</>;
  const show = (value: number) => (isCount ? format.number(value) : format.bytes(value));
  return (
    <span className="nano-metered">
      <span className="nano-meter">
        <i style={{ width: `${share(used ?? 0, total)}%` }} />
      </span>
      {t("usedOf", { used: show(used ?? 0), total: show(total) })}
    </span>
  );
}

export function Empty({ title, text, cli, action }: { title: string; text: string; cli?: string; action?: React.ReactNode }) {
  return (
    <Box textAlign="center" padding={{ vertical: "l" }}>
      <SpaceBetween size="s" alignItems="center">
        <Box variant="h3">{title}</Box>
        <Box color="text-body-secondary">{text}</Box>
        {action}
        {cli && <Copy text={cli} />}
      </SpaceBetween>
    </Box>
  );
}
