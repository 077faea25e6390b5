// Providers and routes.
import { I18nProvider, type I18nProviderProps } from "@cloudscape-design/components/i18n";
import enMessages from "@cloudscape-design/components/i18n/messages/all.en";
import zhMessages from "@cloudscape-design/components/i18n/messages/all.zh-CN";
import Spinner from "@cloudscape-design/components/spinner";
import { lazy, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { createBrowserRouter, RouterProvider } from "react-router";
import { Contain } from "../parts/problem";
import { ComputePoolPage } from "../pages/compute-pool";
import { ComputePoolsPage } from "../pages/compute-pools";
import { DiskImagesPage } from "../pages/disk-images";
import { InstanceCreatePage } from "../pages/instance-create";
import { InstancePage } from "../pages/instance";
import { InstancesPage } from "../pages/instances";
import { LoginPage } from "../pages/login";
import { NodePage } from "../pages/node";
import { NodesPage } from "../pages/nodes";
import { BrokenPage, NotFoundPage, OfflinePage } from "../pages/not-found";
import { OperationsPage } from "../pages/operations";
import { OverviewPage } from "../pages/overview";
import { NetworksPage } from "../pages/networks";
import { PluginsPage } from "../pages/plugins";
import { TokensPage } from "../pages/tokens";
import { FlashesProvider } from "./flashes";
import { LiveProvider } from "./live";
import { SessionProvider, useSession } from "./session";
import { Shell } from "./shell";
import { UploadsProvider } from "./uploads";

const ConsolePage = lazy(() => import("../pages/console"));

const router = createBrowserRouter([
  {
    path: "/instances/:id/console/:kind",
    errorElement: <BrokenPage />,
    element: (
      <Suspense fallback={<Spinner />}>
        <ConsolePage />
      </Suspense>
    ),
  },
  {
    element: <Shell />,
    errorElement: <BrokenPage />,
    children: [
      { index: true, element: <OverviewPage /> },
      { path: "instances", element: <InstancesPage /> },
      { path: "instances/create", element: <InstanceCreatePage /> },
      { path: "instances/:id", element: <InstancePage /> },
      { path: "compute-pools", element: <ComputePoolsPage /> },
      { path: "compute-pools/:id", element: <ComputePoolPage /> },
      { path: "nodes", element: <NodesPage /> },
      { path: "nodes/:id", element: <NodePage /> },
      { path: "disk-images", element: <DiskImagesPage /> },
      { path: "networks", element: <NetworksPage /> },
      { path: "operations", element: <OperationsPage /> },
      { path: "plugins", element: <PluginsPage /> },
      { path: "tokens", element: <TokensPage /> },
      { path: "*", element: <NotFoundPage /> },
    ],
  },
]);

export function Root() {
  const { i18n } = useTranslation();
  const messages = [enMessages, zhMessages] as readonly I18nProviderProps.Messages[];
  return (
    <I18nProvider locale={i18n.language} messages={messages}>
      <Contain>
        <SessionProvider>
          <Gate />
        </SessionProvider>
      </Contain>
    </I18nProvider>
  );
}

function Gate() {
  const { status, error } = useSession();
  if (status === "loading") return <Spinner size="large" />;
  if (status === "anonymous") return error ? <OfflinePage error={error} /> : <LoginPage />;
  return (
    <LiveProvider>
      <FlashesProvider>
        <UploadsProvider>
          <RouterProvider router={router} />
        </UploadsProvider>
      </FlashesProvider>
    </LiveProvider>
  );
}
