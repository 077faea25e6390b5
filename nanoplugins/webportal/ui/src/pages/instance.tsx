import Box from "@cloudscape-design/components/box";
import Spinner from "@cloudscape-design/components/spinner";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useParams } from "react-router";
import { instance as instanceQuery } from "../api/queries";
import type { Instance } from "../api/types";
import { ConsoleTab } from "../parts/console-tab";
import { Copy, StateBadge } from "../parts/facts";
import { InstanceActions } from "../parts/instance-actions";
import { Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
import { UrlTabs } from "../parts/url-tabs";
import { DisksTab } from "./instance-disks";
import { GuestTab } from "./instance-guest";
import { NetworkTab } from "./instance-network";
import { SnapshotsTab } from "./instance-snapshots";
import { OperationsTab, OverviewTab } from "./instance-tabs";
import { SettingsTab } from "./instance-settings";

export function InstancePage() {
  const { t } = useTranslation(["instances", "shell", "common"]);
  const { id = "" } = useParams();
  const query = useQuery(instanceQuery(id));
  const crumbs = [{ text: t("shell:instances"), href: "/instances" }];
  if (!query.data) {
    return (
      <Page title={t("common:instance")} crumbs={crumbs}>
        {query.isError ? <ProblemAlert error={query.error} onRetry={() => void query.refetch()} /> : <Spinner />}
      </Page>
    );
  }
  const instance = query.data;
  return (
    <Page
      title={instance.name}
      crumbs={crumbs}
      description={<Facts instance={instance} />}
      actions={<InstanceActions instance={instance} />}
    >
      <UrlTabs
        tabs={[
          { id: "overview", label: t("tabs.overview"), content: <OverviewTab instance={instance} /> },
          { id: "console", label: t("tabs.console"), content: <ConsoleTab instance={instance} /> },
          { id: "disks", label: t("tabs.disks"), content: <DisksTab instance={instance} /> },
          { id: "network", label: t("tabs.network"), content: <NetworkTab instance={instance} /> },
          { id: "snapshots", label: t("tabs.snapshots"), content: <SnapshotsTab instance={instance} /> },
          { id: "guest", label: t("tabs.guest"), content: <GuestTab instance={instance} /> },
          { id: "operations", label: t("tabs.operations"), content: <OperationsTab instance={instance} /> },
          {
            id: "settings",
            label: t("tabs.settings"),
            content: <SettingsTab instance={instance} key={instance.id} />,
          },
        ]}
      />
    </Page>
  );
}

function Facts({ instance }: { instance: Instance }) {
  const addresses = instance.nics.flatMap((nic) => nic.addresses);
  return (
    <SpaceBetween direction="horizontal" size="m">
      <StateBadge state={instance.state.observed} />
      <Readiness instance={instance} />
      {addresses.map((address) => (
        <Copy key={address} text={address} />
      ))}
      <Copy text={instance.id} />
      {instance.state.reason && <Box color="text-status-error">{instance.state.reason}</Box>}
    </SpaceBetween>
  );
}

function Readiness({ instance }: { instance: Instance }) {
  const { t } = useTranslation("instances");
  const { is_ready: isReady, reason } = instance.ready;
  if (isReady === null || instance.state.observed !== "running") return null;
  const text = isReady ? t("ready") : t("notReady", { reason: reason ?? "" });
  return <StatusIndicator type={isReady ? "success" : "pending"}>{text}</StatusIndicator>;
}
