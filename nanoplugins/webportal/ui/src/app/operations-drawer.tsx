// Long-running work, shared by all users: running first, failures until they were seen.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import HelpPanel from "@cloudscape-design/components/help-panel";
import ProgressBar from "@cloudscape-design/components/progress-bar";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Fragment } from "react";
import { useTranslation } from "react-i18next";
import { del } from "../api/client";
import { problemOfOperation } from "../api/problem";
import { operations } from "../api/queries";
import type { Operation } from "../api/types";
import { Ago, StateBadge, useNow } from "../parts/facts";
import { AppLink } from "../parts/page";
import { ProblemAlert, ProblemText } from "../parts/problem";
import { formatElapsed } from "../logic/format";
import { setPreferences, usePreferences } from "./preferences";

export const isRunning = (operation: Operation) => operation.state === "pending" || operation.state === "running";

export function useUnseenFailures() {
  const { seenFailuresUntil } = usePreferences();
  const { data } = useQuery(operations());
  const failed = (data?.items ?? []).filter((item) => item.state === "failed");
  return {
    hasFailures: failed.some((item) => (item.ended_at ?? "") > seenFailuresUntil),
    markSeen: () => setPreferences({ seenFailuresUntil: new Date().toISOString() }),
  };
}

export function useKindText(): (operation: Operation) => string {
  const { t } = useTranslation("operations");
  return (operation) => t(`kinds.${operation.kind.replaceAll(".", "_")}`, { defaultValue: operation.kind });
}

const PAGES: Record<string, string> = {
  instance: "instances",
  node: "nodes",
  compute_pool: "compute-pools",
  disk_image: "disk-images",
  media_image: "media-images",
  storage_pool: "storage-pools",
  address_pool: "address-pools",
};

export function Resources({ operation }: { operation: Operation }) {
  return (
    <>
      {operation.resources.map((resource, index) => {
        const page = PAGES[resource.kind];
        const text = resource.name ?? resource.id.slice(0, 8);
        return (
          <Fragment key={resource.id}>
            {index > 0 && " · "}
            {page ? <AppLink to={`/${page}/${resource.id}`}>{text}</AppLink> : text}
          </Fragment>
        );
      })}
    </>
  );
}

export function OperationsDrawer() {
  const { t } = useTranslation("operations");
  const query = useQuery(operations());
  const items = query.data?.items ?? [];
  const running = items.filter(isRunning);
  const ended = items.filter((item) => !isRunning(item)).slice(0, 20);
  return (
    <HelpPanel header={<h2>{t("title")}</h2>}>
      <SpaceBetween size="l">
        {query.isError && <ProblemAlert error={query.error} />}
        {running.map((operation) => (
          <Running key={operation.id} operation={operation} />
        ))}
        {running.length === 0 && <Box color="text-body-secondary">{t("noneRunning")}</Box>}
        {ended.map((operation) => (
          <Ended key={operation.id} operation={operation} />
        ))}
        <AppLink to="/operations">{t("all")}</AppLink>
      </SpaceBetween>
    </HelpPanel>
  );
}

export function Running({ operation }: { operation: Operation }) {
  const { t } = useTranslation(["operations", "common"]);
  const kindText = useKindText();
  const now = useNow(1_000);
  const cancel = useMutation({ mutationFn: () => del(`/operations/${operation.id}`) });
  const { step, done, total } = operation.progress;
  const elapsed = formatElapsed(now - Date.parse(operation.started_at ?? operation.created_at));
  return (
    <div>
      <ProgressBar
        label={
          <>
            {kindText(operation)} <Resources operation={operation} />
          </>
        }
        value={total > 0 ? Math.round((done / total) * 100) : 0}
        additionalInfo={step ? t("phase", { step, elapsed }) : elapsed}
      />
      <Button variant="inline-link" loading={cancel.isPending} onClick={() => cancel.mutate()}>
        {t("common:cancel")}
      </Button>
      <ProblemAlert error={cancel.error} />
    </div>
  );
}

function Ended({ operation }: { operation: Operation }) {
  const kindText = useKindText();
  return (
    <div>
      <StateBadge state={operation.state} /> {kindText(operation)} <Resources operation={operation} />{" "}
      <Box variant="small">
        <Ago iso={operation.ended_at} />
      </Box>
      {operation.error && (
        <Box color="text-status-error" fontSize="body-s">
          <ProblemText problem={problemOfOperation(operation.error)} />
        </Box>
      )}
    </div>
  );
}
