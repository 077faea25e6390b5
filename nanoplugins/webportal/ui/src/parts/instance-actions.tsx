// An instance's buttons: what makes most sense now in front, the rest in a menu, with the reason when disabled.
import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { post } from "../api/client";
import { diskImages, nodes } from "../api/queries";
import type { Instance, InstanceAction } from "../api/types";
import { useFlashes } from "../app/flashes";
import { primaryAction, whyNot } from "../logic/bulk";
import { BuildDialog } from "../pages/images";
import { CreateSnapshot } from "../pages/instance-snapshots";
import { BulkAction } from "./bulk-action";
import { optionsOf } from "./fields";
import { FormDialog } from "./form-dialog";
import { askFor } from "./instance-request";

const POWER: InstanceAction[] = ["start", "stop", "reboot", "pause", "resume", "suspend", "restore", "power_off", "reset"];
/** Cutting power and deleting ask first. */
const ASKS: InstanceAction[] = ["power_off", "reset", "delete"];
const DIALOGS = ["rebuild", "clone", "snapshot", "build"];

export function InstanceActions({ instance }: { instance: Instance }) {
  const { t } = useTranslation("instances");
  const navigate = useNavigate();
  const run = useInstanceAction(instance);
  const [asked, setAsked] = useState<InstanceAction | null>(null);
  const [dialog, setDialog] = useState<string | null>(null);
  const primary = primaryAction(instance);
  const choose = (action: string) => {
    if (DIALOGS.includes(action)) setDialog(action);
    else if (ASKS.includes(action as InstanceAction)) setAsked(action as InstanceAction);
    else void run(action as InstanceAction);
  };
  const item = (action: InstanceAction, id: string = action) => {
    const reason = whyNot(instance, action);
    return {
      id,
      text: t(`actions.${id}`),
      disabled: reason !== null,
      disabledReason: reason === null ? undefined : reason || t("notPossible"),
    };
  };
  return (
    <>
      <SpaceBetween direction="horizontal" size="xs">
        <Button
          variant="primary"
          disabled={item(primary).disabled}
          disabledReason={item(primary).disabledReason}
          onClick={() => choose(primary)}
        >
          {t(`actions.${primary}`)}
        </Button>
        <Button
          disabled={item("console").disabled}
          disabledReason={item("console").disabledReason}
          onClick={() => void navigate("?tab=console")}
        >
          {t("tabs.console")}
        </Button>
        <ButtonDropdown
          expandToViewport
          items={[
            ...POWER.filter((action) => action !== primary).map((action) => item(action)),
            { id: "copies", text: t("actions.copies"), items: [item("snapshot"), item("clone"), item("clone", "build"), item("rebuild")] },
            item("delete"),
          ]}
          onItemClick={({ detail }) => choose(detail.id)}
        >
          {t("more")}
        </ButtonDropdown>
      </SpaceBetween>
      {asked && (
        <BulkAction
          action={asked}
          selection={[instance]}
          onClose={(hasChanged) => {
            setAsked(null);
            if (hasChanged && asked === "delete") void navigate("/instances");
          }}
        />
      )}
      {dialog === "rebuild" && <Rebuild instance={instance} onClose={() => setDialog(null)} />}
      {dialog === "clone" && <Clone instance={instance} onClose={() => setDialog(null)} />}
      {dialog === "snapshot" && <CreateSnapshot instance={instance} onClose={() => setDialog(null)} />}
      {dialog === "build" && <BuildDialog instanceId={instance.id} onClose={() => setDialog(null)} />}
    </>
  );
}

function Rebuild({ instance, onClose }: { instance: Instance; onClose(): void }) {
  const { t } = useTranslation(["instances", "common"]);
  const images = useQuery(diskImages("limit=1000&state=ready&sort=name"));
  return (
    <FormDialog
      title={t("rebuild.title", { name: instance.name })}
      submit={t("actions.rebuild")}
      warning={t("rebuild.text")}
      fields={[{ key: "image_id", kind: "choice", label: t("common:diskImage"), options: optionsOf(images.data?.items), isLoading: images.isPending }]}
      item={{ image_id: instance.image?.id }}
      send={(body) => post(`/instances/${instance.id}/actions/rebuild`, body)}
      onClose={onClose}
    />
  );
}

function Clone({ instance, onClose }: { instance: Instance; onClose(): void }) {
  const { t } = useTranslation(["instances", "common"]);
  const all = useQuery(nodes());
  const automatic = t("create.automatic");
  const cells = all.data?.items.filter((node) => node.roles.includes("cell"));
  return (
    <FormDialog
      title={t("clone.title", { name: instance.name })}
      submit={t("actions.clone")}
      note={t("clone.text")}
      fields={[
        { key: "name", label: t("common:name") },
        { key: "node_id", kind: "choice", label: t("create.cell"), options: optionsOf(cells, automatic), placeholder: automatic },
        { key: "is_started", kind: "check", label: t("create.start") },
      ]}
      item={{ name: `${instance.name}-copy` }}
      send={(body) => post(`/instances/${instance.id}/actions/clone`, { is_started: false, ...body })}
      onClose={onClose}
    />
  );
}

export function useInstanceAction(instance: Instance) {
  const { t } = useTranslation("instances");
  const { follow } = useFlashes();
  return (action: InstanceAction) =>
    follow(t("doing", { action: t(`actions.${action}`), name: instance.name }), () => askFor(instance.id, action));
}
